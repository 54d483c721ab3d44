-- Renews the lease of a worker, and shows it and its queue to apalis' tools. Returns the tasks that it
-- holds, and since when.
-- KEYS: the workers, the metadata of the worker, the queues, what the worker has claimed
-- ARGV: the worker, the service, the prefix of the metas
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], 'backend_name', 'RedisStorage', 'service', ARGV[2])
redis.call('ZADD', KEYS[3], 'GT', now, KEYS[1])
local held = {}
for _, task in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    table.insert(held, { task, redis.call('HGET', ARGV[3] .. task, 'claimed_at') or '' })
end
return held
