-- Pauses the inbox, or changes its pause.
-- ARGV: by whom, why, for how many milliseconds, or nothing
redis.call('DEL', pause)
redis.call('HSET', pause, 'by', ARGV[1], 'why', ARGV[2], 'since', string.format('%.0f', now))
if ARGV[3] ~= '' then
    redis.call('HSET', pause, 'until', string.format('%.0f', now + ARGV[3]))
    redis.call('PEXPIRE', pause, ARGV[3])
end
return redis.status_reply('OK')
