-- Keeps a body that was signed for a known key, if it differs from that of the event. If the payload of the event is forgotten,
-- the signatures are compared. Returns 1 if the body is kept, else 0.
-- ARGV: the key, the body, the name of the secret, the signature, what is kept without the time
local key, payload, name, signature, kept = unpack(ARGV)
local id = redis.call('HGET', keys, key)
local record = id and redis.call('HGET', events, id)
local is_read, fields = pcall(cjson.decode, record or '')
if not is_read or fields.origin ~= 'signed' then return 0 end
local known = redis.call('HGET', payloads, id)
local is_other = known and known ~= payload or
    not known and fields.signed_by == name and fields.signature ~= signature
if not is_other then return 0 end
redis.call('HSET', conflicts, id, string.sub(kept, 1, -2) .. ',"accepted_at":' .. string.format('%.0f', now) .. '}')
return 1
