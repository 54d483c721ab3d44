-- Puts what a worker has claimed back on the active list, and forgets the worker.
-- KEYS: what the worker has claimed, the active list, the workers
-- ARGV: the worker
for _, task in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    redis.call('LPUSH', KEYS[2], task)
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
