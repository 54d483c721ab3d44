-- Puts what a worker has claimed back on the active list, but for what it has in hand; if that is
-- nothing, forgets the worker.
-- KEYS: what the worker has claimed, the active list, the workers, the metadata of the worker
-- ARGV: the worker, the tasks that it has in hand
local in_hand = {}
for i = 2, #ARGV do
    in_hand[ARGV[i]] = true
end
for _, task in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if not in_hand[task] then
        redis.call('SREM', KEYS[1], task)
        redis.call('LPUSH', KEYS[2], task)
    end
end
if #ARGV == 1 then
    redis.call('ZREM', KEYS[3], ARGV[1])
    redis.call('DEL', KEYS[4])
end
return redis.status_reply('OK')
