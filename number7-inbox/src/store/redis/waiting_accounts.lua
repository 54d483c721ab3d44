-- The next accounts that have events which are ready, or overdue jobs which are to be fetched now, from one on; '' is that of
-- those without one. Then the account where the next look begins, unless there are no more. It passes over accounts that have
-- only later ones, or whose events are paused.
-- ARGV: the account, how many accounts to look at, 'events' or 'jobs'
local is_of_events = ARGV[3] == 'events'
local set, paused = is_of_events and ready_of_account or fetches, is_of_events and current_pauses() or {}
local accounts, from = {}, '[' .. ARGV[1] .. '/'
for looked_at = 1, ARGV[2] do
    local member = redis.call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, 1)[1]
    if not member then break end
    local account, at = string.match(member, '^([^/]*)/(%d+)/')
    if looked_at == tonumber(ARGV[2]) then return { accounts, account } end
    if tonumber(at) <= now and not paused[account] then table.insert(accounts, account) end
    -- Names end with a slash there, and a zero comes next to it.
    from = '[' .. account .. '0'
end
return { accounts, false }
