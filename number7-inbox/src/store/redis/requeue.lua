-- Puts dead letters back to work. Returns how many of the keys had one.
-- ARGV: the note, keys
local requeued = 0
for i = 2, #ARGV do
    local id, record = dead_letter(ARGV[i])
    if id then
        -- Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and the
        -- end of that claim may still arrive.
        record.attempt = record.attempt + 2
        record.uncounted, record.due_at = record.attempt, now
        note(id, 0, ARGV[1])
        move(id, record, 'ready')
        requeued = requeued + 1
        -- The key may be there twice.
        flush()
    end
end
return requeued
