-- Forgets a worker that has nothing claimed.
-- KEYS: what the worker has claimed, the workers, the metadata of the worker
-- ARGV: the worker
if redis.call('SCARD', KEYS[1]) == 0 then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('DEL', KEYS[3])
end
return redis.status_reply('OK')
