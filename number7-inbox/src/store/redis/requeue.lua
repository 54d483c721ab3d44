-- Makes dead letters, or done events, ready again. Returns how many of the keys had one.
-- ARGV: the note, the state, how many runs to add, keys
local requeued = 0
for i = 4, #ARGV do
    local id, record = finished(ARGV[i], ARGV[2])
    if id and (ARGV[2] == 'dead' or redis.call('HEXISTS', payloads, id) == 1) then
        -- Adds 2, because a dead letter at n may come from claim n + 1, whose attempt was never made, and the
        -- end of that claim may still arrive.
        record.attempt = record.attempt + 2
        record.uncounted, record.due_at, record.runs = record.attempt, now, record.runs + ARGV[3]
        note(id, 0, ARGV[1])
        move(id, record, 'ready')
        requeued = requeued + 1
        -- The same key may be given twice.
        flush()
    end
end
return requeued
