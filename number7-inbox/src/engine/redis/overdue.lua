-- Returns overdue jobs that are not settled after a place, each with milliseconds of the time when it
-- was due, how often it was fetched, and whether it is given up; and the place of the last one unless there
-- are no more.
-- KEYS: the keys, the overdue jobs, the jobs to fetch
-- ARGV: the prefix of what is known of the jobs, how many at most, the score after which to begin, its
--     job
local most, first, after = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local jobs, last, rows = {}, false, nil
-- What was due before it, or at the same time and is before it in the order of the set.
local score = redis.call('ZSCORE', KEYS[2], after)
local next = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. first)
if score and tonumber(score) == tonumber(first) then
    next = redis.call('ZRANK', KEYS[2], after) + 1
elseif after ~= '' then
    -- It is gone, and is put there for a moment to see where it was.
    redis.call('ZADD', KEYS[2], first, after)
    next = redis.call('ZRANK', KEYS[2], after)
    redis.call('ZREM', KEYS[2], after)
    if score then redis.call('ZADD', KEYS[2], score, after) end
end
-- In steps, so that nobody else waits for long.
for _ = 1, 10 do
    rows = redis.call('ZRANGE', KEYS[2], next, next + 499, 'WITHSCORES')
    for i = 1, #rows, 2 do
        local job, due = rows[i], tonumber(rows[i + 1])
        if #jobs < most then
            last = { due, job }
            local known = redis.call('HMGET', ARGV[1] .. job, 'completed', 'failed', 'takes')
            if known[1] and redis.call('HEXISTS', KEYS[1], known[1]) == 0
                and redis.call('HEXISTS', KEYS[1], known[2]) == 0 then
                local is_given_up = redis.call('ZSCORE', KEYS[3], job) == 'inf'
                table.insert(jobs, { job, due, tonumber(known[3] or 0), is_given_up and 1 or 0 })
            end
        end
    end
    next = next + 500
    if #jobs == most or #rows < 1000 then break end
end
return { jobs, (#jobs == most or #rows == 1000) and last or false }
