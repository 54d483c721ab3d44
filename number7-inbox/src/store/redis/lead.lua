-- Takes or renews the lease of the worker that fetches. Returns 0 if another has it, else 1.
-- KEYS: the leader
-- ARGV: the worker, milliseconds of the lease
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
