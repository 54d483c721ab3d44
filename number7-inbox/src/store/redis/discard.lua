-- Counts a dead letter as done. Returns 1, or 0 if there is none of the key.
-- ARGV: the key, the note
local id, record = dead_letter(ARGV[1])
if not id then return 0 end
note(id, 0, ARGV[2])
move(id, record, 'done')
return flush(1)
