-- Makes a dead letter of an event with a damaged record, if this script cannot read the record either, or if the worker that
-- could not still has the claim.
-- ARGV: event, key, what does not change of the record, the note, the worker
local id, key, rest, text, worker = unpack(ARGV)
local record, whole = read(id), fresh(id, 'ready', rest)
if not record or string.sub(record.member, -#worker - 1) == ':' .. worker then
    if record then whole.state, whole.member, whole.place = record.state, record.member, record.place end
    note(id, 0, text)
    move(id, whole, 'dead')
    redis.call('HSETNX', keys, key, id)
end
return flush(redis.status_reply('OK'))
