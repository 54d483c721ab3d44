-- Counts that nobody knows an overdue job. After some times it is not fetched anymore. Returns 1 then, else 0.
-- ARGV: the job, after how many times
local job, record = ARGV[1], read_job(ARGV[1])
if not record or not redis.call('ZSCORE', overdue, job) then return 0 end
record.unknown = (tonumber(record.unknown) or 0) + 1
record.is_given_up = record.unknown >= tonumber(ARGV[2])
fetch_at(job, record, not record.is_given_up and record.fetch_at or nil)
return record.is_given_up and 1 or 0
