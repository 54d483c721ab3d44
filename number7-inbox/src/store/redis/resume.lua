-- Ends a pause. Returns 1, or 0 if there is none.
return redis.call('DEL', pause)
