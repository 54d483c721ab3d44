-- Stores an event unless its key is known. Returns 1 if it was new, 0 if it has the payload of the known one, else 2. If its
-- answer was lost, it runs again, and then finds its own receipt.
-- ARGV: key, payload, receipt, what does not change of the record, whether replicas are waited for
local key, payload, receipt, rest, waits = unpack(ARGV)
local known = redis.call('HGET', keys, key)
if known then
    -- Writes again. Redis waits for replicas only until they have what this connection has written, and they may
    -- not have the first write yet.
    if waits == '1' then redis.call('HSET', keys, key, known) end
    if string.find(redis.call('HGET', events, known) or '', receipt, 1, true) then return 1 end
    return redis.call('HGET', payloads, known) == payload and 0 or 2
end
local at = string.format('%.0f', now)
-- As events.lua reads it.
local record = '{"state":"ready","attempt":0,"uncounted":0,"runs":1,"due_at":' .. at .. ',"claimed_by":null,"claimed_at":null,'
    .. '"claimed_as":"ready","finished_at":null,' .. string.sub(rest, 2, -2) .. ',"accepted_at":' .. at .. '}'
local id = string.format('%016.0f', redis.call('INCR', next_id))
if redis.call('HSETNX', events, id, record) == 0 then
    -- The counter was lost. It continues from a number that is greater than all before.
    redis.call('SET', next_id, string.format('%.0f', clock[1] * 1000000 + clock[2]))
    id = string.format('%016.0f', redis.call('INCR', next_id))
    redis.call('HSET', events, id, record)
end
redis.call('HSET', payloads, id, payload)
redis.call('ZADD', ready, at, id)
local account = string.match(key, '^(%w[%w_.-]*)/') or ''
redis.call('ZADD', ready_of_account, 0, string.format('%s/%016.0f/%s', account, now, id))
-- Last, because if it fails half-way, nothing is undone: a retry must not find the key of an event that is not ready.
redis.call('HSET', keys, key, id)
return 1
