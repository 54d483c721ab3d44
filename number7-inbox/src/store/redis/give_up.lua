-- Stops fetching an overdue job: its next fetch is at infinity.
-- ARGV: the job
redis.call('ZADD', fetches, 'XX', 'inf', ARGV[1])
return redis.status_reply('OK')
