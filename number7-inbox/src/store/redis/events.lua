-- The set of each state. The members are events; of running events they are event:attempt:worker.
local sets = { ready = ready, quarantined = quarantined, running = running, done = done, dead = dead }

-- A record is JSON that begins with what changes, in this order. To decode and encode all of it would take longer than
-- everything else that a script does with an event.
local FORM = '^{"state":"(%l+)","attempt":(%d+),"uncounted":(%d+),"runs":(%d+),"due_at":(%d+),"claimed_by":"?([^",]+)"?,'
    .. '"claimed_at":%w+,"claimed_as":"(%l+)","finished_at":%w+,("key":".+})$'
local TEXT = '{"state":"%s","attempt":%.0f,"uncounted":%.0f,"runs":%.0f,"due_at":%.0f,"claimed_by":%s,"claimed_at":%s,'
    .. '"claimed_as":"%s","finished_at":%s,%s'

-- The account in front of its key; '' if there is none.
local function account_of(record) return string.match(record.rest, '^"key":"(%w[%w_.-]*)/') or '' end

-- The member of an event in the set of ready events by account.
local function place_of_account(account, due_at, id) return string.format('%s/%016.0f/%s', account, due_at, id) end

-- Reads a record. Returns nothing if it is lost, or somebody has damaged it.
local function parse(id, text)
    local state, attempt, uncounted, runs, due_at, worker, claimed_as, rest = string.match(text or '', FORM)
    if not sets[state] then return end
    local record = { state = state, attempt = tonumber(attempt), uncounted = tonumber(uncounted),
        runs = tonumber(runs), due_at = tonumber(due_at), claimed_as = claimed_as, rest = rest,
        member = state == 'running' and id .. ':' .. attempt .. ':' .. worker or id }
    if state == 'ready' then record.place = place_of_account(account_of(record), record.due_at, id) end
    return record
end

local function read(id) return parse(id, redis.call('HGET', events, id)) end

-- A record to replace a lost one.
local function fresh(id, state, rest)
    return { state = state, attempt = 0, uncounted = 0, runs = 1, due_at = now, claimed_as = 'ready', member = id,
        rest = string.sub(rest, 2, -2) .. ',"accepted_at":' .. now .. '}' }
end

-- The pending writes. A few commands with many arguments take less time than many commands.
local records, added, removed = {}, {}, {}
for _, set in pairs(sets) do added[set], removed[set] = {}, {} end
added[ready_of_account], removed[ready_of_account] = {}, {}

local function push(list, one, two)
    list[#list + 1] = one
    list[#list + 1] = two
end

-- Adds the write of a record. If it is done or dead, it was finished now.
local function save(id, record, worker)
    local is_over = record.state == 'done' or record.state == 'dead'
    local text = string.format(TEXT, record.state, record.attempt, record.uncounted, record.runs, record.due_at,
        worker and '"' .. worker .. '"' or 'null', worker and now or 'null', record.claimed_as,
        is_over and now or 'null', record.rest)
    push(records, id, text)
    return text
end

-- Adds the writes that move an event to a state: to `running` with its worker. Returns the text of its record.
local function move(id, record, state, worker)
    local set, member = sets[record.state], record.member
    if record.place then table.insert(removed[ready_of_account], record.place) end
    record.state = state
    record.member = worker and id .. ':' .. record.attempt .. ':' .. worker or id
    local is_waiting = state == 'ready' or state == 'quarantined'
    push(added[sets[state]], is_waiting and record.due_at or now, record.member)
    if set ~= sets[state] then push(removed[set], member) end
    record.place = state == 'ready' and place_of_account(account_of(record), record.due_at, id)
    if record.place then push(added[ready_of_account], 0, record.place) end
    return save(id, record, worker)
end

-- Makes the pending writes, and returns the result of the script. If it fails half-way, nothing is undone, so each event enters
-- its new set before it leaves the old one.
local function flush(result)
    for set, list in pairs(added) do
        if #list > 0 then redis.call('ZADD', set, unpack(list)) end
        added[set] = {}
    end
    if #records > 0 then redis.call('HSET', events, unpack(records)) end
    records = {}
    for set, list in pairs(removed) do
        if #list > 0 then redis.call('ZREM', set, unpack(list)) end
        removed[set] = {}
    end
    return result
end

-- Makes an event ready although its record is damaged: the worker that claims it will notice.
local function leave_to_worker(id, member)
    redis.call('ZADD', ready, now, id)
    redis.call('ZADD', ready_of_account, 0, place_of_account('', now, id))
    redis.call('ZREM', running, member)
end

-- Forgets an event and its key. Returns the key, if it is known.
local function forget(id, record)
    local is_read, rest = pcall(cjson.decode, record and '{' .. record.rest)
    local key = is_read and rest.key or false
    if key and redis.call('HGET', keys, key) == id then redis.call('HDEL', keys, key) end
    redis.call('HDEL', events, id)
    redis.call('HDEL', payloads, id)
    redis.call('HDEL', errors, id)
    redis.call('HDEL', conflicts, id)
    return key
end

-- The done or dead event of a key, and its record.
local function finished(key, state)
    local id = redis.call('HGET', keys, key)
    if not id or not redis.call('ZSCORE', sets[state], id) then return end
    local new = fresh(id, state, cjson.encode({ key = key }))
    local record = read(id) or new
    if not pcall(cjson.decode, '{' .. record.rest) then record.rest = new.rest end
    return id, record
end

-- Adds a note to the errors of an event. If they are not a JSON array, they are replaced.
local function note(id, attempt, text)
    local old = redis.call('HGET', errors, id)
    local items = old and pcall(cjson.decode, old) and string.match(old, '^%[(.+)%]$')
    local item = string.format('{"at":%.0f,"attempt":%.0f,"error":%s}', now, attempt, cjson.encode(text))
    redis.call('HSET', errors, id, '[' .. (items and items .. ',' or '') .. item .. ']')
end

