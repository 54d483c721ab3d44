-- Returns the entry of a key as list.lua does, and its state; or nothing.
-- KEYS: the keys, the data, the workers
-- ARGV: the prefix of the metas, the key
local task = redis.call('HGET', KEYS[1], ARGV[2])
if not task then return false end
local meta = fields(ARGV[1] .. task, 'idempotency_key', 'attempts', 'status', 'due_at',
    'locked_at', 'done_at', 'errors', 'locked_by', 'origin', 'uncounted')
local json = redis.call('HGET', KEYS[2], task)
if not meta[1] or not json then return false end
local now = redis.call('TIME')
local state, since, seen = 'due', count(meta[4]) and meta[4] or '0', false
local seconds = function(text) return (count(text) and text or '0') .. '000' end
if meta[3] == 'Done' or meta[3] == 'Killed' then
    state, since = meta[3] == 'Done' and 'done' or 'dead', seconds(meta[6])
elseif meta[8] then
    state, since = 'in_hand', seconds(meta[5])
    seen = redis.call('ZSCORE', KEYS[3], meta[8])
elseif tonumber(since) > now[1] * 1000 + math.floor(now[2] / 1000) then
    state = 'later'
end
local attempts = math.max(0, (count(meta[2]) or 0) - (count(meta[10]) or 0))
return { { task, meta[1], json, attempts, since, meta[7], seen, meta[9] }, state }
