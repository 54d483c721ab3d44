-- Returns entries of one list or sorted set after a place, and the place of the last one unless there are no
-- more. Of each entry its place and: task, key, JSON, attempts that count, milliseconds of the state, errors,
-- the second when its worker was last heard of, and its origin.
-- A place is the score in a sorted set; or in a list when it was due, and how far from the head it was.
-- KEYS: where the tasks are, the data, the workers
-- ARGV: the prefix of the metas, how many at most, the task after which to begin or nothing, its
--     place or nothing, the lowest score in a sorted set (-inf, or what it is above) and the highest
local from, data, workers = unpack(KEYS)
local prefix, most, after, place, low, high = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3)
local kind = redis.call('TYPE', from).ok
local now = redis.call('TIME')
local millis = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
low, high = string.gsub(low, 'now', millis), string.gsub(high, 'now', millis)

-- Where a task is in a list by now, near to where it was: lists are taken from at the head.
local function find(task, was)
    local first = math.max(0, was - 500)
    for i, other in ipairs(redis.call('LRANGE', from, first, was)) do
        if other == task then return first + i - 1 end
    end
    return redis.call('LPOS', from, task)
end

-- The next tasks, fewer than wanted only at the end, and their places.
local function tasks()
    local found, places = {}, {}
    if kind == 'list' then
        local due, was = string.match(place, '^(%d*)-(%d+)$')
        -- If it is gone, or has come back since, so are those before it.
        local is_same = due and fields(prefix .. after, 'due_at')[1] == due
        local at = is_same and find(after, tonumber(was))
        local first = at and at + 1 or 0
        found = redis.call('LRANGE', from, first, first + most - 1)
        for i, task in ipairs(found) do
            places[i] = (fields(prefix .. task, 'due_at')[1] or '') .. '-' .. (first + i - 1)
        end
    elseif kind == 'zset' then
        local first = after ~= '' and before(from, place, after)
            or low ~= '-inf' and redis.call('ZCOUNT', from, '-inf', string.sub(low, 2)) or 0
        local last = redis.call('ZCOUNT', from, '-inf', high) - 1
        last = math.min(last, first + most - 1)
        local rows = last < first and {} or redis.call('ZRANGE', from, first, last, 'WITHSCORES')
        for i = 1, #rows, 2 do
            table.insert(found, rows[i])
            table.insert(places, rows[i + 1])
        end
    end
    return found, places
end

local found, places = tasks()
local entries = {}
for i, task in ipairs(found) do
    local meta = fields(prefix .. task, 'idempotency_key', 'attempts', 'status', 'due_at',
        'locked_at', 'done_at', 'errors', 'locked_by', 'origin', 'uncounted')
    local json = redis.call('HGET', data, task)
    local is_over = meta[3] == 'Done' or meta[3] == 'Killed'
    -- What is over may still be on a list, if its end came late.
    if meta[1] and json and not (is_over and kind == 'list') then
        local seconds = count(is_over and meta[6] or meta[8] and meta[5])
        local since = seconds and seconds .. '000' or count(meta[4]) and meta[4] or '0'
        local seen = meta[8] and redis.call('ZSCORE', workers, meta[8])
        local attempts = math.max(0, (count(meta[2]) or 0) - (count(meta[10]) or 0))
        local entry = { task, meta[1], json, attempts, since, meta[7], seen, meta[9] }
        table.insert(entries, { places[i], entry })
    end
end
return { entries, #found == most and { places[#found], found[#found] } or false }
