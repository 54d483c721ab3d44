-- Puts dead letters back to work. Returns how many of the keys had one.
-- KEYS: the keys, the dead letters, the active list
-- ARGV: the prefix of the metas, the note, keys
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local requeued = 0
for i = 3, #ARGV do
    local task = redis.call('HGET', KEYS[1], ARGV[i])
    if task and redis.call('ZREM', KEYS[2], task) == 1 then
        local meta = ARGV[1] .. task
        local attempts = count(fields(meta, 'attempts')[1])
        if not attempts then redis.call('DEL', meta) end
        -- Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never
        -- made, and the end of that claim may still arrive.
        attempts = (attempts or 0) + 2
        redis.call('HSET', meta, 'attempts', attempts, 'status', 'Pending', 'uncounted', attempts,
            'idempotency_key', ARGV[i], 'due_at', millis)
        redis.call('HDEL', meta, 'error', 'done_at')
        note(meta, millis, 0, ARGV[2])
        redis.call('RPUSH', KEYS[3], task)
        requeued = requeued + 1
    end
end
return requeued
