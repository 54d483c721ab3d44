-- Forgets a worker that holds nothing.
-- ARGV: the worker
if #claims_of(ARGV[1]) == 0 then redis.call('ZREM', workers, ARGV[1]) end
return redis.status_reply('OK')
