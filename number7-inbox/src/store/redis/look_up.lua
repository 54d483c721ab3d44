-- Looks up the events of jobs whose time for that has come, forgets those that are settled, and notes
-- which are overdue. Returns those that were not known to be, how many were looked up, and the jobs of
-- which nothing is known any more.
-- KEYS: the keys, the expected jobs, the overdue jobs, the jobs to fetch
-- ARGV: the prefix of what is known of the jobs, how many at most, milliseconds after which an overdue
--     job is looked up again, and at the latest
local keys, expected, overdue, to_fetch = unpack(KEYS)
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', expected, '-inf', millis, 'LIMIT', 0, ARGV[2])
local news, damaged = {}, {}
for _, job in ipairs(found) do
    local known = fields(ARGV[1] .. job, 'completed', 'failed', 'due_at')
    if not known[1] or not known[2] or not count(known[3]) then
        redis.call('DEL', ARGV[1] .. job)
        redis.call('ZADD', expected, millis + ARGV[3], job)
        table.insert(damaged, job)
    elseif redis.call('HEXISTS', keys, known[1]) == 1
        or redis.call('HEXISTS', keys, known[2]) == 1 then
        redis.call('DEL', ARGV[1] .. job)
        redis.call('ZREM', expected, job)
        redis.call('ZREM', overdue, job)
        redis.call('ZREM', to_fetch, job)
    else
        local late, rest = millis - known[3], 0
        if late >= 0 then
            rest = math.max(ARGV[3], math.floor(late / 10))
            if redis.call('ZADD', overdue, 'NX', known[3], job) == 1 then
                redis.call('ZADD', to_fetch, millis, job)
                table.insert(news, job)
            end
        else
            rest = -late
        end
        redis.call('ZADD', expected, millis + math.min(rest, ARGV[4]), job)
    end
end
return { news, #found, damaged }
