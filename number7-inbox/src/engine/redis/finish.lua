-- Records how an attempt ended. Returns 0 if another worker has the event by now, else 1.
-- KEYS: what the worker has claimed, the meta of the task, the set that the task goes to
-- ARGV: task, status, attempts, error, milliseconds until it is due
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then
    return 0
end
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[2], 'status', ARGV[2], 'attempts', ARGV[3], 'error', ARGV[4],
    'done_at', now[1])
redis.call('ZADD', KEYS[3], millis + ARGV[5], ARGV[1])
return 1
