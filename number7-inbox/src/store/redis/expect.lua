-- Expects an event of a job, unless one is known or expected.
-- KEYS: the keys, what is known of the job, the expected jobs
-- ARGV: the job, the keys of both its events, milliseconds until it is due, milliseconds after which
--     it is looked up at the latest, whether replicas are waited for
if redis.call('HEXISTS', KEYS[1], ARGV[2]) + redis.call('HEXISTS', KEYS[1], ARGV[3])
    + redis.call('EXISTS', KEYS[2]) == 0 then
    local now = redis.call('TIME')
    local millis = now[1] * 1000 + math.floor(now[2] / 1000)
    redis.call('HSET', KEYS[2], 'completed', ARGV[2], 'failed', ARGV[3], 'due_at', millis + ARGV[4])
    redis.call('ZADD', KEYS[3], millis + math.min(ARGV[4], ARGV[5]), ARGV[1])
elseif ARGV[6] == '1' and redis.call('EXISTS', KEYS[2]) == 1 then
    -- As insert.lua does.
    redis.call('HSET', KEYS[2], 'completed', ARGV[2], 'failed', ARGV[3])
end
return redis.status_reply('OK')
