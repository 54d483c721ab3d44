-- The next accounts that have events which are ready, from one on; '' is that of the events without one. Then the account where
-- the next look begins, unless there are no more. It passes over accounts whose events are all scheduled, and those that are
-- paused.
-- ARGV: the account, how many accounts to look at
local accounts, from, paused = {}, '[' .. ARGV[1] .. '/', current_pauses()
for looked_at = 1, ARGV[2] do
    local member = redis.call('ZRANGEBYLEX', ready_of_account, from, '+', 'LIMIT', 0, 1)[1]
    if not member then break end
    local account, due_at = string.match(member, '^([^/]*)/(%d+)/')
    if looked_at == tonumber(ARGV[2]) then return { accounts, account } end
    if tonumber(due_at) <= now and not paused[account] then table.insert(accounts, account) end
    -- Names end with a slash there, and a zero comes next to it.
    from = '[' .. account .. '0'
end
return { accounts, false }
