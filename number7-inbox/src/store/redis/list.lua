-- Returns the events in a state after a place, each with its own place, and the place of the last one if there are more. A
-- place is a score and a member of the set.
-- ARGV: the state, how many at most, the score and the member after which to begin, or nothing
local state, most, score, after = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local set, ready_now = sets[state] or ready, redis.call('ZCOUNT', ready, '-inf', now)
local first = score ~= '' and before(set, score, after) or 0
if state == 'scheduled' then first = math.max(first, ready_now) end
local last = first + most
if state == 'ready' then last = math.min(last, ready_now) end
local rows = last > first and redis.call('ZRANGE', set, first, last - 1, 'WITHSCORES') or {}
local found = {}
for i = 1, #rows, 2 do
    local shown = entry(string.match(rows[i], '^%d+') or '')
    if shown then table.insert(found, { { rows[i + 1], rows[i] }, shown }) end
end
return { found, #rows == 2 * most and { rows[#rows], rows[#rows - 1] } or false }
