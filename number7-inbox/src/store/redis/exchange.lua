-- Records the ends of attempts, and claims what is ready if the lease of the worker is live. Returns the events
-- whose ends count; of each claim event, record, payload, errors, and whether it is quarantined, and in how long the
-- next event is ready, or neither if the lease is not live; of each event that is lost or damaged its key, or its
-- payload; and whether the inbox is paused, 1, and the time is that until the end of the pause, or accounts are, 2.
-- ARGV: the worker, milliseconds of the lease, how many events to claim, how many of them may be quarantined, how
--     many more to claim ahead of handlers; how many to claim of each of some accounts before all others, how many
--     accounts, these; of each end event, which attempt, state, milliseconds until it is due, attempt and what does not count
--     from then on, errors or nothing
local worker, lease, most, alone, ahead =
    ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local of_each, accounts = tonumber(ARGV[6]), tonumber(ARGV[7])

local ended = {}
for i = 8 + accounts, #ARGV, 7 do
    local id, number, state, rest, attempt, uncounted, history = unpack(ARGV, i, i + 6)
    local record = read(id) or {}
    local was = record.state
    -- An end that is sent again finds a dead letter at the number that it wrote: for a claim beyond the last
    -- attempt, its own minus one.
    local expected = was == 'dead' and attempt or number
    local is_refused = was == 'done' and state ~= 'done' or was == 'dead' and state == 'ready'
    local is_others = was == 'running' and record.member ~= id .. ':' .. number .. ':' .. worker
    if record.attempt == tonumber(expected) and not is_refused and not is_others then
        table.insert(ended, id)
        if history ~= '' then redis.call('HSET', errors, id, history) end
        record.uncounted = tonumber(uncounted)
        if was ~= 'done' then
            record.attempt = tonumber(attempt)
            if state == 'ready' then record.due_at = now + rest end
            move(id, record, state)
        end
    end
end

flush()

-- Others may rescue what a worker holds whose lease has expired, so it must not claim more.
local seen = redis.call('ZSCORE', workers, worker)
if not seen or now - seen > lease then return { ended, false, {}, false } end
local paused = most + ahead > 0 and current_pauses() or {}
if paused[''] then
    local ends_at = paused['']['until']
    return { ended, { {}, ends_at and ends_at - now or false }, {}, 1 }
end
local are_accounts_paused = next(paused) ~= nil

local claims, broken = {}, {}
local function claim(state, ids)
    if #ids == 0 then return end
    local set = sets[state]
    local texts = redis.call('HMGET', events, unpack(ids))
    local bodies = redis.call('HMGET', payloads, unpack(ids))
    local histories = redis.call('HMGET', errors, unpack(ids))
    for i, id in ipairs(ids) do
        local record, payload = parse(id, texts[i]), bodies[i]
        if not payload then
            -- So that it can be accepted again.
            table.insert(broken, { id, forget(id, record), false })
            redis.call('ZREM', set, id)
        elseif not record then
            -- If this worker does not set it aside, another one finds it.
            table.insert(broken, { id, false, payload })
            redis.call('ZADD', set, now + 60000, id)
        elseif record.state ~= state then
            redis.call('ZREM', set, id)
        else
            record.attempt = record.attempt + 1
            record.claimed_as = #claims >= most and 'ahead' or state
            local text = move(id, record, 'running', worker)
            table.insert(claims, { id, { text, payload, histories[i], false, false }, state == 'quarantined' and 1 or 0 })
        end
    end
    flush()
end
local function first(state, limit)
    if limit == 0 then return {} end
    return redis.call('ZRANGEBYSCORE', sets[state], '-inf', now, 'LIMIT', 0, limit)
end
local function first_quarantined(limit)
    if limit == 0 or not are_accounts_paused then return first('quarantined', limit) end
    -- There are few.
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', quarantined, '-inf', now, 'LIMIT', 0, 10000)) do
        local record = read(id)
        if not (record and paused[account_of(record)]) then return { id } end
    end
    return {}
end
local function first_of_accounts(limit)
    local ids = {}
    for i = 8, 7 + accounts do
        local from, to = '[' .. ARGV[i] .. '/', string.format('(%s/%016.0f', ARGV[i], now + 1)
        local of_account = paused[ARGV[i]] and 0 or math.min(of_each, limit - #ids)
        for _, place in ipairs(redis.call('ZRANGEBYLEX', ready_of_account, from, to, 'LIMIT', 0, of_account)) do
            local id = string.match(place, '%d+$')
            local due_at = redis.call('ZSCORE', ready, id)
            if due_at and tonumber(due_at) <= now then
                table.insert(ids, id)
            else
                -- Its record is lost or damaged, or somebody has changed the set by hand.
                redis.call('ZREM', ready_of_account, place)
            end
        end
    end
    return ids
end
claim('quarantined', first_quarantined(math.min(most, alone)))
claim('ready', first_of_accounts(most + ahead - #claims))
-- Not past the events of accounts that are paused: there may be many.
if not are_accounts_paused then claim('ready', first('ready', most + ahead - #claims)) end
local due_at = redis.call('ZRANGE', ready, 0, 0, 'WITHSCORES')[2]
return { ended, { claims, due_at and math.max(0, due_at - now) or false }, broken, are_accounts_paused and 2 or false }
