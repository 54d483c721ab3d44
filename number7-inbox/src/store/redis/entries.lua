-- What is shown of an event: record, payload, errors, when its worker was last heard of, and what was signed later. Returns
-- its record as well.
local function entry(id)
    local text = redis.call('HGET', events, id)
    local record, payload = parse(id, text), redis.call('HGET', payloads, id)
    -- A payload may be forgotten once the event is done.
    if not record or not payload and record.state ~= 'done' then return end
    local worker = string.match(record.member, ':.-:(.+)$')
    local seen = worker and redis.call('ZSCORE', workers, worker) or false
    return { text, payload, redis.call('HGET', errors, id), seen, redis.call('HGET', conflicts, id) }, record
end

