-- Renews the lease of a worker and of what it holds, and shows it and its queue to apalis' tools. Returns
-- some of the tasks that it holds, and since when, and the cursor of the others: 0 if these were all.
-- KEYS: the workers, the metadata of the worker, the queues, what the worker has claimed, all claims,
--     their leases
-- ARGV: the worker, the service, the prefix of the metas, the cursor or 0, how many at once
local now = redis.call('TIME')
redis.call('ZADD', KEYS[1], now[1], ARGV[1])
-- Only those tools need this.
redis.pcall('HSET', KEYS[2], 'backend_name', 'RedisStorage', 'service', ARGV[2])
redis.pcall('ZADD', KEYS[3], 'GT', now[1], KEYS[1])
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local page = redis.call('SSCAN', KEYS[4], ARGV[4], 'COUNT', ARGV[5])
local held, leases = {}, {}
for _, task in ipairs(page[2]) do
    table.insert(leases, millis)
    table.insert(leases, task)
    table.insert(held, { task, fields(ARGV[3] .. task, 'claimed_at')[1] or '' })
end
if #held > 0 then
    -- Only what is missing there is new.
    redis.call('ZADD', KEYS[5], 'NX', unpack(leases))
    redis.call('ZADD', KEYS[6], unpack(leases))
end
return { page[1], held }
