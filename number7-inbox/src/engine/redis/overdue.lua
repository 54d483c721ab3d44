-- Returns overdue jobs that are not settled after a place, each with milliseconds of the time when it
-- was due and how often it was fetched; and the place of the last one unless there are no more.
-- KEYS: the keys, the overdue jobs
-- ARGV: the prefix of what is known of the jobs, how many at most, the score after which to begin, its
--     job
local most, first, after = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local rows, offset, jobs, last = nil, 0, {}, false
-- In steps, so that nobody else waits for long.
for _ = 1, 10 do
    rows = redis.call('ZRANGEBYSCORE', KEYS[2], first, '+inf', 'WITHSCORES', 'LIMIT', offset, 500)
    for i = 1, #rows, 2 do
        local job, due = rows[i], tonumber(rows[i + 1])
        -- Those of one score are in the order of their names.
        if not (due == tonumber(first) and job <= after) and #jobs < most then
            last = { due, job }
            local known = redis.call('HMGET', ARGV[1] .. job, 'completed', 'failed', 'takes')
            if known[1] and redis.call('HEXISTS', KEYS[1], known[1]) == 0
                and redis.call('HEXISTS', KEYS[1], known[2]) == 0 then
                table.insert(jobs, { job, due, tonumber(known[3] or 0) })
            end
        end
    end
    offset = offset + 500
    if #jobs == most or #rows < 1000 then break end
end
return { jobs, (#jobs == most or #rows == 1000) and last or false }
