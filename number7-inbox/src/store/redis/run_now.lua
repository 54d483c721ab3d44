-- Makes scheduled events ready. Returns how many of the keys had one.
-- ARGV: the note, keys
local changed = 0
for i = 2, #ARGV do
    local id = redis.call('HGET', keys, ARGV[i])
    local due_at, record = id and redis.call('ZSCORE', ready, id), id and read(id)
    if due_at and tonumber(due_at) > now and record and record.state == 'ready' then
        record.due_at = now
        note(id, 0, ARGV[1])
        move(id, record, 'ready')
        changed = changed + 1
        flush()
    end
end
return changed
