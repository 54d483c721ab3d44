-- The pauses that are not over: for each one the account, by whom, why, since when, and until when.
local list = {}
for account, pause in pairs(current_pauses()) do
    table.insert(list, { account, pause.by, pause.why, pause.since, pause['until'] or false })
end
return list
