-- Rescues claims that are older than a lease, and whose workers did not renew theirs, or are not registered. Returns how many,
-- how many others it has passed over, and whether there may be more.
-- ARGV: milliseconds of a lease, how many attempts quarantine an event, the note, how many claims to examine,
--     and how many to pass over
local lease, quarantine_after, text, most, passed =
    tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local old = redis.call('ZRANGEBYSCORE', running, '-inf', '(' .. now - lease, 'LIMIT', passed, most)
local rescued = 0
for _, member in ipairs(old) do
    local id, worker = string.match(member, '^(%d+):%d+:(.+)$')
    local seen = worker and redis.call('ZSCORE', workers, worker)
    if not worker then
        redis.call('ZREM', running, member)
    elseif seen and now - seen <= lease then
        passed = passed + 1
    else
        local record = read(id)
        rescued = rescued + 1
        if record and record.member == member then
            local counted = math.max(0, record.attempt - record.uncounted)
            note(id, counted, text)
            if record.claimed_as == 'ahead' then record.uncounted = record.uncounted + 1 end
            local is_quarantined = record.claimed_as == 'ahead' or counted >= quarantine_after
            move(id, record, is_quarantined and 'quarantined' or 'ready')
        else
            leave_to_worker(id, member)
        end
    end
end
-- These workers hold nothing: what they claimed during their last lease was rescued.
if #old < most then redis.call('ZREMRANGEBYSCORE', workers, '-inf', '(' .. now - 2 * lease) end
return flush({ rescued, passed, #old == most and 1 or 0 })
