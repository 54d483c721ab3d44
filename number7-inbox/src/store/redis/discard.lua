-- Counts dead letters as done. Returns how many of the keys had a dead letter.
-- ARGV: the note, keys
local discarded = 0
for i = 2, #ARGV do
    local id, record = finished(ARGV[i], 'dead')
    if id then
        note(id, 0, ARGV[1])
        move(id, record, 'done')
        discarded = discarded + 1
        flush()
    end
end
return discarded
