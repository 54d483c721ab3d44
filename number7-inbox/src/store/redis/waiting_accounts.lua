-- The next accounts after one that have events which are ready, and the last one that was looked at, unless there are no
-- more. It passes over accounts whose events are all scheduled.
-- ARGV: the account, how many accounts to look at
local accounts, last, paused = {}, ARGV[1], current_pauses()
for _ = 1, ARGV[2] do
    -- Names end with a slash there, and a zero comes next to it.
    local from = last == '' and '-' or '[' .. last .. '0'
    local member = redis.call('ZRANGEBYLEX', ready_of_account, from, '+', 'LIMIT', 0, 1)[1]
    if not member then return { accounts, false } end
    local account, due_at = string.match(member, '^([^/]+)/(%d+)/')
    if tonumber(due_at) <= now and not paused[account] then table.insert(accounts, account) end
    last = account
end
return { accounts, last }
