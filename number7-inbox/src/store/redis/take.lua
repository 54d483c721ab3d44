-- Takes overdue jobs that are to be fetched now. They rest from then on. Returns for each one whether it is
-- settled, and how often it was taken.
-- ARGV: how many at most, milliseconds of the first rest, of the longest
local taken = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', fetches, '-inf', now, 'LIMIT', 0, ARGV[1])) do
    local record = read_job(job)
    local times = record and record.fetches + 1 or 1
    if record then
        record.fetches = times
        redis.call('HSET', expected_jobs, job, cjson.encode(record))
    end
    local rest = math.min(ARGV[3], ARGV[2] * 2 ^ math.min(times - 1, 30))
    redis.call('ZADD', fetches, string.format('%.0f', now + rest), job)
    table.insert(taken, { job, record and is_settled(record) and 1 or 0, times })
end
return taken
