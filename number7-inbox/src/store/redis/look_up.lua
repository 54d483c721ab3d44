-- Looks up the events of jobs that are to be looked up by now, forgets the jobs that are settled, and marks those that are
-- overdue. Returns the newly overdue jobs, the jobs whose records are lost, and the time until the next look-up.
-- ARGV: how many at most, milliseconds until an overdue job is looked up again, and the longest such time
local newly_overdue, damaged = {}, {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', look_ups, '-inf', now, 'LIMIT', 0, ARGV[1])) do
    local record = read_job(job)
    if not record then
        redis.call('HDEL', expected_jobs, job)
        redis.call('ZADD', look_ups, now + ARGV[2], job)
        table.insert(damaged, job)
    elseif is_settled(record) then
        cancel(job)
    else
        local late = now - record.due_at
        local rest = late < 0 and -late or math.max(ARGV[2], math.floor(late / 10))
        if late >= 0 and redis.call('ZADD', overdue, 'NX', record.due_at, job) == 1 then
            table.insert(newly_overdue, job)
        end
        if late >= 0 and not record.fetch_at and not record.is_given_up then fetch_at(job, record, now) end
        redis.call('ZADD', look_ups, now + math.min(rest, ARGV[3]), job)
    end
end
local next = redis.call('ZRANGE', look_ups, 0, 0, 'WITHSCORES')[2]
return { newly_overdue, damaged, next and math.max(0, next - now) or false }
