-- Puts a dead letter back to work. Returns 0 if there is none of that key, else 1.
-- KEYS: the keys, the dead letters, the active list
-- ARGV: the key, the prefix of the metas
local task = redis.call('HGET', KEYS[1], ARGV[1])
if not task or redis.call('ZREM', KEYS[2], task) == 0 then
    return 0
end
redis.call('HSET', ARGV[2] .. task, 'status', 'Pending', 'attempts', 0, 'idempotency_key', ARGV[1])
redis.call('HDEL', ARGV[2] .. task, 'error', 'done_at')
redis.call('RPUSH', KEYS[3], task)
return 1
