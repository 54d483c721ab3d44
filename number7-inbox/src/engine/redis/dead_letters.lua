-- Returns key, JSON, attempts, error and time of the oldest dead letters, or of the one of a key.
-- KEYS: the dead letters, the data, the keys
-- ARGV: how many at most, the prefix of the metas, perhaps a key
local tasks
if ARGV[3] then
    local task = redis.call('HGET', KEYS[3], ARGV[3])
    tasks = task and redis.call('ZSCORE', KEYS[1], task) and { task } or {}
else
    tasks = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'LIMIT', 0, ARGV[1])
end
local letters = {}
for _, task in ipairs(tasks) do
    local meta = redis.call('HMGET', ARGV[2] .. task, 'idempotency_key', 'attempts', 'error',
        'done_at')
    local json = redis.call('HGET', KEYS[2], task)
    if meta[1] and json then
        table.insert(letters, { meta[1], json, tonumber(meta[2]), meta[3], tonumber(meta[4]) })
    end
end
return letters
