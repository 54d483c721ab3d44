-- Puts tasks whose leases are over, because their workers did not renew them, on the active list or
-- among the suspects, and forgets the workers that have none left. Returns how many tasks, and whether there
-- may be more.
-- KEYS: all claims, their leases, the workers, the active list, the suspects
-- ARGV: milliseconds of a lease, how our workers' names begin, the prefix of what workers have claimed,
--     that of their metadata, that of the metas, how many attempts make a suspect, the note, how many at most
local claims, leases, workers, active, suspects = unpack(KEYS)
local lease, prefix, claimed_by, metadata, metas = unpack(ARGV)
local most = tonumber(ARGV[8])
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)

-- A claim has a lease of its own. One that has none, because that was lost, has its worker's.
local looked_at, changed = 0, 0
local silent = redis.call('ZRANGEBYSCORE', workers, '-inf', (millis - lease) / 1000 - 1, 'LIMIT', 0, 100)
for _, worker in ipairs(silent) do
    if string.sub(worker, 1, #prefix) == prefix and looked_at < most then
        local claimed = claimed_by .. worker
        for _, task in ipairs(redis.call('SRANDMEMBER', claimed, most - looked_at)) do
            looked_at = looked_at + 1
            local holder = fields(metas .. task, 'locked_by')[1]
            local is_others = holder and holder ~= worker
            if is_others or not redis.call('ZSCORE', leases, task) then
                redis.call('SREM', claimed, task)
                if not is_others then redis.call('ZADD', leases, 0, task) end
                changed = changed + 1
            end
        end
        if redis.call('SCARD', claimed) == 0 then
            redis.call('DEL', metadata .. worker)
            redis.call('ZREM', workers, worker)
        end
    end
end

local reaped = 0
local old = redis.call('ZRANGEBYSCORE', leases, '-inf', '(' .. string.format('%.0f', millis - lease),
    'LIMIT', 0, most)
for _, task in ipairs(old) do
    local meta = metas .. task
    local known = fields(meta, 'attempts', 'uncounted', 'status', 'locked_by')
    redis.call('ZREM', claims, task)
    redis.call('ZREM', leases, task)
    if known[4] then redis.call('SREM', claimed_by .. known[4], task) end
    if known[3] ~= 'Done' and known[3] ~= 'Killed' then
        reaped = reaped + 1
        local attempts = count(known[1])
        if attempts then
            attempts = math.max(0, attempts - (count(known[2]) or 0))
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
            note(meta, millis, attempts, ARGV[7])
        end
        -- What is damaged goes there as well, for a worker to find out.
        if attempts and attempts >= tonumber(ARGV[6]) then
            redis.call('RPUSH', suspects, task)
        else
            redis.call('LPUSH', active, task)
        end
    end
end
return { reaped, (#old == most or changed == most) and 1 or 0 }
