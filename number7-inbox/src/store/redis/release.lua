-- Makes events that a worker has claimed and never began ready again, or quarantined if they were so before. The
-- attempt does not count.
-- ARGV: the worker, the claims as event:attempt
for i = 2, #ARGV do
    local id, member = string.match(ARGV[i], '^%d+'), ARGV[i] .. ':' .. ARGV[1]
    if redis.call('ZSCORE', running, member) then
        local record = read(id)
        if record and record.member == member then
            record.uncounted = record.uncounted + 1
            move(id, record, record.claimed_as == 'quarantined' and 'quarantined' or 'ready')
        else
            leave_to_worker(id, member)
        end
    end
end
return flush(redis.status_reply('OK'))
