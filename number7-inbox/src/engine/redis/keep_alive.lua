-- Renews the lease of a worker, and shows it and its queue to apalis' tools. Returns the tasks that it
-- holds.
-- KEYS: the workers, the metadata of the worker, the queues, what the worker has claimed
-- ARGV: the worker, the service
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], 'backend_name', 'RedisStorage', 'service', ARGV[2])
redis.call('ZADD', KEYS[3], 'GT', now, KEYS[1])
return redis.call('SMEMBERS', KEYS[4])
