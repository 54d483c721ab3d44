-- The next accounts, from one on, that have ready events, or overdue jobs to be fetched now. '' is the account of those without
-- one. Also returns the account to continue from, if there are more. It passes over accounts that have only later events or
-- jobs, or whose events are paused.
-- ARGV: the account, how many accounts to examine, 'events' or 'jobs'
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
