-- Renews the lease of a worker. Returns the claims that it holds.
-- ARGV: the worker
redis.call('ZADD', workers, now, ARGV[1])
return claims_of(ARGV[1])
