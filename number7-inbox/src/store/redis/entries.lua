-- An event for an operator: record, payload, errors, the last heartbeat of its worker, and the other body that was signed
-- later. Also returns its decoded record.
local function entry(id)
    local text = redis.call('HGET', events, id)
    local record, payload = parse(id, text), redis.call('HGET', payloads, id)
    -- A payload may be forgotten once the event is done.
    if not record or not payload and record.state ~= 'done' then return end
    local worker = string.match(record.member, ':.-:(.+)$')
    local seen = worker and redis.call('ZSCORE', workers, worker) or false
    return { text, payload, redis.call('HGET', errors, id), seen, redis.call('HGET', conflicts, id) }, record
end

