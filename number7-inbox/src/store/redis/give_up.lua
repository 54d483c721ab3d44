-- Fetches an overdue job no more: it is taken at no time that ever comes.
-- KEYS: the jobs to fetch
-- ARGV: the job
redis.call('ZADD', KEYS[1], 'XX', 'inf', ARGV[1])
return redis.status_reply('OK')
