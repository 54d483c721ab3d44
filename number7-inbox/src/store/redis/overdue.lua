-- Returns overdue jobs that are not settled after a place, each with milliseconds of the time when it
-- was due, how often it was fetched, and whether it is given up; and the place after which there may be more,
-- unless there are none.
-- KEYS: the keys, the overdue jobs, the jobs to fetch
-- ARGV: the prefix of what is known of the jobs, how many at most, the score after which to begin, its
--     job, how many to look at
local most, score, after, step = tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local jobs, last = {}, false
local first = before(KEYS[2], score, after)
local rows = redis.call('ZRANGE', KEYS[2], first, first + step - 1, 'WITHSCORES')
for i = 1, #rows, 2 do
    local job, due = rows[i], tonumber(rows[i + 1])
    if #jobs < most then
        last = { due, job }
        local known = fields(ARGV[1] .. job, 'completed', 'failed', 'takes')
        if known[1] and known[2] and redis.call('HEXISTS', KEYS[1], known[1]) == 0
            and redis.call('HEXISTS', KEYS[1], known[2]) == 0 then
            local is_given_up = redis.call('ZSCORE', KEYS[3], job) == 'inf'
            table.insert(jobs, { job, due, count(known[3]) or 0, is_given_up and 1 or 0 })
        end
    end
end
return { jobs, (#jobs == most or #rows == 2 * step) and last or false }
