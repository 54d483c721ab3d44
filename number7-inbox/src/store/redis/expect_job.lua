-- Expects an event of a job, unless one is known or expected.
-- ARGV: the job, the keys of both its events, milliseconds until it is due, the most milliseconds until it is looked up,
-- whether replicas are waited for
local job, completed, failed, within, latest, waits = unpack(ARGV)
local record = { completed = completed, failed = failed, due_at = now + within, fetches = 0 }
local known = redis.call('HGET', expected_jobs, job)
if known then
    -- See insert.lua.
    if waits == '1' then redis.call('HSET', expected_jobs, job, known) end
elseif is_settled(record) then
    cancel(job)
else
    redis.call('ZADD', look_ups, now + math.min(within, latest), job)
    redis.call('HSET', expected_jobs, job, cjson.encode(record))
end
return redis.status_reply('OK')
