-- Forgets the payloads of events that were done long ago, among the next ones after a place, which is as in list.lua. Returns
-- the place of the last one that it examined, if there may be more.
-- ARGV: milliseconds of retention, how many events to examine, the score and the member after which to begin, or nothing
local most, score, after = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local first = score ~= '' and before(done, score, after) or 0
local last = math.min(first + most, redis.call('ZCOUNT', done, '-inf', '(' .. now - ARGV[1]))
if last <= first then return false end
for _, id in ipairs(redis.call('ZRANGE', done, first, last - 1)) do
    redis.call('HDEL', payloads, id)
    redis.call('HDEL', conflicts, id)
end
local place = redis.call('ZRANGE', done, last - 1, last - 1, 'WITHSCORES')
return last - first == most and { place[2], place[1] } or false
