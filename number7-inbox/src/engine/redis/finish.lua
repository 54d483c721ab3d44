-- Records how an attempt ended. Returns 0 if the event is another attempt's by now, else 1.
-- KEYS: what the worker has claimed, the meta of the task, the set that the task goes to
-- ARGV: task, status, attempt, error, milliseconds until it is due
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0
    or redis.call('HGET', KEYS[2], 'attempts') ~= ARGV[3] then
    return 0
end
redis.call('SREM', KEYS[1], ARGV[1])
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', KEYS[2], 'status', ARGV[2], 'error', ARGV[4], 'done_at', now[1])
redis.call('ZADD', KEYS[3], millis + ARGV[5], ARGV[1])
return 1
