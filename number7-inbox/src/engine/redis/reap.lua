-- Puts the tasks of workers that are not heard of on the active list, or among the suspects.
-- Returns how many tasks.
-- KEYS: the workers, the active list, the suspects
-- ARGV: seconds of a lease, how our workers' names begin, the prefix of what workers have claimed,
--     that of their metadata, that of the metas, how many attempts make a suspect, the note
local now = redis.call('TIME')
local before = now[1] - ARGV[1]
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local reaped = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. before)) do
    if string.sub(worker, 1, #ARGV[2]) == ARGV[2] then
        local claimed = ARGV[3] .. worker
        for _, task in ipairs(redis.call('SMEMBERS', claimed)) do
            local meta = ARGV[5] .. task
            reaped = reaped + 1
            local known = redis.call('HMGET', meta, 'attempts', 'uncounted', 'errors')
            local attempts = known[1] and math.max(0, known[1] - (known[2] or 0))
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
            if attempts then
                local errors = cjson.decode(known[3] or '[]')
                table.insert(errors, { millis, attempts, ARGV[7] })
                redis.call('HSET', meta, 'errors', cjson.encode(errors))
            end
            if attempts and attempts >= tonumber(ARGV[6]) then
                redis.call('RPUSH', KEYS[3], task)
            else
                redis.call('LPUSH', KEYS[2], task)
            end
        end
        redis.call('DEL', claimed, ARGV[4] .. worker)
        redis.call('ZREM', KEYS[1], worker)
    end
end
return reaped
