-- Ends a pause. Returns 1, or 0 if there is none.
-- ARGV: the account, or nothing for the inbox
local is_on = current_pauses()[ARGV[1]]
redis.call('HDEL', pauses, ARGV[1])
return is_on and 1 or 0
