-- Fetches an overdue job no more: it is taken at no time that ever comes.
-- ARGV: the job
redis.call('ZADD', fetches, 'XX', 'inf', ARGV[1])
return redis.status_reply('OK')
