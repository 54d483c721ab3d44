-- Counts an attempt. Returns 0 if the worker does not have the event any more, else 1.
-- KEYS: what the worker has claimed, the meta of the task
-- ARGV: task, attempt
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then
    return 0
end
redis.call('HSET', KEYS[2], 'status', 'Running', 'attempts', ARGV[2])
return 1
