-- Returns the workers that had a heartbeat within some milliseconds, each with its time, and the claims of all
-- workers, the oldest first.
-- ARGV: these milliseconds
return { redis.call('ZRANGEBYSCORE', workers, now - ARGV[1], '+inf', 'WITHSCORES'), redis.call('ZRANGE', running, 0, -1) }
