-- Counts the events. Returns ready, scheduled, quarantined, running, done, dead, when the oldest ready or quarantined event was
-- due, how many workers had a heartbeat within some milliseconds, how many jobs are overdue, when the oldest was due, the time,
-- whether the inbox is paused, and how many accounts are.
-- ARGV: these milliseconds
local paused, paused_accounts = current_pauses(), 0
for account in pairs(paused) do if account ~= '' then paused_accounts = paused_accounts + 1 end end
local function oldest(set) return tonumber(redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or now) end
return { redis.call('ZCOUNT', ready, '-inf', now), redis.call('ZCOUNT', ready, '(' .. now, '+inf'),
    redis.call('ZCARD', quarantined), redis.call('ZCARD', running), redis.call('ZCARD', done),
    redis.call('ZCARD', dead), math.min(now, oldest(ready), oldest(quarantined)),
    redis.call('ZCOUNT', workers, now - ARGV[1], '+inf'), redis.call('ZCARD', overdue), oldest(overdue), now,
    paused[''] and 1 or 0, paused_accounts }
