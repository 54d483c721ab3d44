-- Expects a job no more. Returns 1, or 0 if it was not expected.
-- KEYS: what is known of the job, the expected jobs, the overdue jobs, the jobs to fetch
-- ARGV: the job
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
