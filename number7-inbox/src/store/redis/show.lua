-- Returns the state and the event of a key, if there is one.
-- ARGV: the key
local shown, record = entry(redis.call('HGET', keys, ARGV[1]) or '')
if not shown then return false end
local is_scheduled = record.state == 'ready' and record.due_at > now
return { is_scheduled and 'scheduled' or record.state, shown }
