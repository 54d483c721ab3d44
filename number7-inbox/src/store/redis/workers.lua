-- Returns the workers that were heard of since some milliseconds, each with when, and what all workers have claimed, those
-- first that were claimed first.
-- ARGV: those milliseconds
return { redis.call('ZRANGEBYSCORE', workers, now - ARGV[1], '+inf', 'WITHSCORES'), redis.call('ZRANGE', running, 0, -1) }
