-- Stores an event unless its key is known. Returns 1 if it was new, else 0. It may run again for one whose
-- answer was lost.
-- KEYS: the keys, the data, the meta of the task, the active list
-- ARGV: key, task, JSON, attempts, origin, whether replicas are waited for
local task = redis.call('HGET', KEYS[1], ARGV[1])
if task then
    -- A write again, because Redis waits for replicas only until they have what this connection has written:
    -- they may not have the first one yet.
    if ARGV[6] == '1' then redis.call('HSET', KEYS[1], ARGV[1], task) end
    return task == ARGV[2] and 1 or 0
end
local now = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[3], 'attempts', 0, 'max_attempts', ARGV[4], 'status', 'Pending',
    'idempotency_key', ARGV[1], 'due_at', now[1] * 1000 + math.floor(now[2] / 1000))
if ARGV[5] ~= 'signed' then redis.call('HSET', KEYS[3], 'origin', ARGV[5]) end
redis.call('RPUSH', KEYS[4], ARGV[2])
-- Last, because what fails half-way is not undone: a retry must not find the key of an event that is on no list.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
