-- The pause: by whom, why, since when, until when. Nothing if there is none.
local fields = redis.call('HMGET', pause, 'by', 'why', 'since', 'until')
return fields[1] and { fields[1], fields[2] or '', tonumber(fields[3] or now), fields[4] and tonumber(fields[4]) }
