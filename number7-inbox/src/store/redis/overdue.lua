-- Returns the overdue jobs after a place that are not settled: for each one the milliseconds when it was due, how often it was
-- fetched, and whether it was given up. Also returns the place to continue after, if there may be more.
-- ARGV: how many at most, the score after which to begin, its job, how many to examine
local most, step = tonumber(ARGV[1]), tonumber(ARGV[4])
local first = before(overdue, ARGV[2], ARGV[3])
local rows = redis.call('ZRANGE', overdue, first, first + step - 1, 'WITHSCORES')
local jobs, last = {}, false
for i = 1, #rows, 2 do
    if #jobs == most then break end
    local job, record = rows[i], read_job(rows[i])
    last = { tonumber(rows[i + 1]), job }
    if record and not is_settled(record) then
        table.insert(jobs, { job, last[1], record.fetches, record.is_given_up and 1 or 0 })
    end
end
return { jobs, (#jobs == most or #rows == 2 * step) and last or false }
