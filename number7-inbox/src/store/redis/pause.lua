-- Pauses the inbox or an account of it, or changes the pause.
-- ARGV: the account, or nothing for the inbox; by whom, why, for how many milliseconds, or nothing
local pause = { by = ARGV[2], why = ARGV[3], since = now }
if ARGV[4] ~= '' then pause['until'] = now + ARGV[4] end
redis.call('HSET', pauses, ARGV[1], cjson.encode(pause))
return redis.status_reply('OK')
