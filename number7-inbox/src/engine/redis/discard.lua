-- Counts a dead letter as done. Returns 1, or 0 if there is none of the key.
-- KEYS: the keys, the dead letters, the finished tasks
-- ARGV: key, the prefix of the metas
local task = redis.call('HGET', KEYS[1], ARGV[1])
if not task or redis.call('ZREM', KEYS[2], task) == 0 then return 0 end
local now = redis.call('TIME')
redis.call('HSET', ARGV[2] .. task, 'status', 'Done', 'done_at', now[1])
redis.call('ZADD', KEYS[3], now[1] * 1000 + math.floor(now[2] / 1000), task)
return 1
