-- Counts a dead letter as done. Returns 1, or 0 if there is none of the key.
-- KEYS: the keys, the dead letters, the finished tasks
-- ARGV: key, the prefix of the metas, the note
local task = redis.call('HGET', KEYS[1], ARGV[1])
if not task or redis.call('ZREM', KEYS[2], task) == 0 then return 0 end
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local meta = ARGV[2] .. task
if not fields(meta, 'idempotency_key')[1] then redis.call('DEL', meta) end
redis.call('HSET', meta, 'status', 'Done', 'done_at', now[1], 'idempotency_key', ARGV[1])
note(meta, millis, 0, ARGV[3])
redis.call('ZADD', KEYS[3], millis, task)
return 1
