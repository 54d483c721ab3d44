-- Fetches an overdue job no more.
-- ARGV: the job
local record = read_job(ARGV[1])
if record and redis.call('ZSCORE', overdue, ARGV[1]) then
    record.is_given_up = true
    fetch_at(ARGV[1], record)
end
return redis.status_reply('OK')
