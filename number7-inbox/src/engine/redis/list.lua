-- Returns entries of one list, set or sorted set after a place, and the place of the last one unless
-- there are no more. Of each entry its score or nothing and: task, key, JSON, attempts that count,
-- milliseconds of the state, errors, the second when its worker was last heard of, and its origin.
-- KEYS: where the tasks are, the data, the workers
-- ARGV: the prefix of the metas, how many at most, the task after which to begin or nothing, its
--     score or nothing, the lowest and the highest score in a sorted set
local from, data, workers = unpack(KEYS)
local prefix, most, after, score, low, high = ARGV[1], tonumber(ARGV[2]), unpack(ARGV, 3)
local kind = redis.call('TYPE', from).ok
local now = redis.call('TIME')
local millis = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))

-- The next tasks, fewer than wanted only at the end, and their scores.
local function tasks()
    local found, scores = {}, {}
    if kind == 'list' then
        -- If it is gone, or has come back since, so are those before it.
        local is_same = after ~= '' and redis.call('HGET', prefix .. after, 'due_at') == score
        local place = is_same and redis.call('LPOS', from, after)
        local first = place and place + 1 or 0
        found = redis.call('LRANGE', from, first, first + most - 1)
        for i, task in ipairs(found) do
            scores[i] = redis.call('HGET', prefix .. task, 'due_at') or ''
        end
    elseif kind == 'set' then
        local all = redis.call('SMEMBERS', from)
        table.sort(all)
        for _, task in ipairs(all) do
            if task > after and #found < most then table.insert(found, task) end
        end
    elseif kind == 'zset' then
        local first = score ~= '' and score or string.gsub(low, 'now', millis)
        local offset, step = 0, 1000
        repeat
            local rows = redis.call('ZRANGEBYSCORE', from, first, (string.gsub(high, 'now', millis)),
                'WITHSCORES', 'LIMIT', offset, step)
            for i = 1, #rows, 2 do
                -- Those of one score are in the order of their names.
                local is_before = rows[i + 1] == score and rows[i] <= after
                if not is_before and #found < most then
                    table.insert(found, rows[i])
                    table.insert(scores, rows[i + 1])
                end
            end
            offset = offset + step
        until #found == most or #rows < 2 * step
    end
    return found, scores
end

local found, scores = tasks()
local entries = {}
for i, task in ipairs(found) do
    local meta = redis.call('HMGET', prefix .. task, 'idempotency_key', 'attempts', 'status', 'due_at',
        'locked_at', 'done_at', 'errors', 'locked_by', 'origin', 'uncounted')
    local json = redis.call('HGET', data, task)
    local is_over = meta[3] == 'Done' or meta[3] == 'Killed'
    -- What is over may still be on a list, if its end came late.
    if meta[1] and json and not (is_over and kind == 'list') then
        local seconds = is_over and meta[6] or kind == 'set' and meta[5]
        local since = seconds and seconds .. '000' or meta[4] or '0'
        local seen = kind == 'set' and meta[8] and redis.call('ZSCORE', workers, meta[8])
        local attempts = math.max(0, (meta[2] or 0) - (meta[10] or 0))
        local entry = { task, meta[1], json, attempts, since, meta[7], seen, meta[9] }
        table.insert(entries, { scores[i] or '', entry })
    end
end
return { entries, #found == most and { scores[#found] or '', found[#found] } or false }
