-- Counts the events that were finished in each of 15 minutes.
-- ARGV: the time of the first one
local counts = {}
for minute = 0, 14 do
    local from = ARGV[1] + minute * 60000
    local to = '(' .. from + 60000
    table.insert(counts, redis.call('ZCOUNT', done, from, to) + redis.call('ZCOUNT', dead, from, to))
end
return counts
