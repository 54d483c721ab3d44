-- Takes or renews the lease of the worker that fetches. Returns 0 if another has it, else 1.
-- ARGV: the worker, milliseconds of the lease
local current = redis.call('GET', leader)
if current and current ~= ARGV[1] then return 0 end
redis.call('SET', leader, ARGV[1], 'PX', ARGV[2])
return 1
