-- The pauses that are not over: for each account, or '' for the inbox, a table with by, why, since and until.
local function current_pauses()
    local found = {}
    local all = redis.call('HGETALL', pauses)
    for i = 1, #all, 2 do
        local is_read, pause = pcall(cjson.decode, all[i + 1])
        if not is_read or type(pause) ~= 'table' then
            -- Somebody has damaged it.
            pause = { by = '', why = '', since = now }
        end
        if not pause['until'] or pause['until'] > now then found[all[i]] = pause end
    end
    return found
end

