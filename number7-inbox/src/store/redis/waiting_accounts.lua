-- The next accounts after one that have ready events, and the last one that was examined, if there are more. It passes over
-- accounts whose events are all scheduled.
-- ARGV: the account, how many accounts to examine
local accounts, last, paused = {}, ARGV[1], current_pauses()
for _ = 1, ARGV[2] do
    -- In the set, names end with a slash, and a zero is the next character after that.
    local from = last == '' and '-' or '[' .. last .. '0'
    local member = redis.call('ZRANGEBYLEX', ready_of_account, from, '+', 'LIMIT', 0, 1)[1]
    if not member then return { accounts, false } end
    local account, due_at = string.match(member, '^([^/]+)/(%d+)/')
    if tonumber(due_at) <= now and not paused[account] then table.insert(accounts, account) end
    last = account
end
return { accounts, last }
