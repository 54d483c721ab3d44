-- Records the ends of attempts, and claims what is due if the lease of the worker is live. Returns the tasks
-- whose ends count; of each claim task, attempts, how many of them do not count, key, JSON, errors, origin
-- and whether it is a suspect; of each damaged task its JSON or, where that is lost, its key; and whether the
-- lease is live.
-- KEYS: the active list, the suspects, the delayed tasks, the data, what the worker has claimed,
--     the finished tasks, the dead letters, the keys, the workers, all claims, their leases
-- ARGV: the worker, the prefix of the metas, how many delayed tasks to put on the active list, how
--     many tasks to claim, how many of them may be suspects, milliseconds of the lease; of each end task,
--     which attempt, status, error or nothing, milliseconds until it is due, attempts, how many of them do
--     not count, errors or nothing
local active, suspects, delayed, data, claimed, finished, dead, keys, workers, held, leases =
    unpack(KEYS)
local worker, prefix = ARGV[1], ARGV[2]
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)

local ended = {}
for i = 7, #ARGV, 8 do
    local task, number, status, error, rest, attempts, uncounted, errors = unpack(ARGV, i, i + 7)
    local meta = prefix .. task
    local known = fields(meta, 'attempts', 'locked_by', 'status')
    -- An end that is sent again finds a dead letter at the number that it wrote: for a claim beyond
    -- the last attempt, its own minus one.
    local expected = known[3] == 'Killed' and attempts or number
    local is_refused = known[3] == 'Done' and status ~= 'Done'
        or known[3] == 'Killed' and status == 'Pending'
    if known[1] == expected and not is_refused and (not known[2] or known[2] == worker) then
        table.insert(ended, task)
        if errors ~= '' then redis.call('HSET', meta, 'errors', errors, 'uncounted', uncounted) end
        local is_held = redis.call('SREM', claimed, task) == 1
        -- What was given back is on its way to the next attempt, unless this one was the last.
        if is_held or (status ~= 'Pending' and known[3] ~= 'Done') then
            redis.call('HSET', meta, 'status', status, 'done_at', now[1], 'attempts', attempts,
                'due_at', millis + rest)
            if error ~= '' then redis.call('HSET', meta, 'error', error) end
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
            redis.call('ZREM', held, task)
            redis.call('ZREM', leases, task)
            redis.call('ZREM', dead, task)
            -- It was released, near the head of its list, and is over.
            if not is_held and known[3] ~= 'Killed' and redis.call('LREM', suspects, 1, task) == 0 then
                redis.call('LREM', active, 1, task)
            end
            local set = status == 'Done' and finished or status == 'Killed' and dead or delayed
            redis.call('ZADD', set, millis + rest, task)
        end
    end
end

-- Others may rescue what a worker holds whose lease has expired, so it must not claim more. It was renewed up to
-- a second after its score.
local renewed = redis.call('ZSCORE', workers, worker)
if not renewed or millis - renewed * 1000 > tonumber(ARGV[6]) then return { ended, {}, {}, 0 } end

-- In steps: a script of apalis' would take all at once, and fails for ever above 8,000.
local due = redis.call('ZRANGEBYSCORE', delayed, 0, millis, 'LIMIT', 0, ARGV[3])
if #due > 0 then
    redis.call('RPUSH', active, unpack(due))
    redis.call('ZREM', delayed, unpack(due))
end

-- A task can be on a list although somebody has it, or it is over because its end came late.
local claimed_by = string.sub(claimed, 1, -1 - #worker)
local function is_over(task, status, holder)
    return status == 'Done' or status == 'Killed'
        or (holder and redis.call('SISMEMBER', claimed_by .. holder, task) == 1)
end

local claims, damaged = {}, {}
local function claim(list, most, is_suspect)
    -- What is over costs nearly as much as what is claimed.
    for _ = 1, 2 do
        local tasks = most > 0 and redis.call('LPOP', list, most)
        if not tasks then return end
        for _, task in ipairs(tasks) do
            local meta = prefix .. task
            local known = fields(meta, 'attempts', 'status', 'idempotency_key',
                'locked_by', 'errors', 'origin', 'uncounted')
            local json = redis.call('HGET', data, task)
            if not json then
                -- Forgotten, so that it can be accepted again.
                if known[3] then redis.call('HDEL', keys, known[3]) end
                redis.call('DEL', meta)
                table.insert(damaged, { task, false, known[3] or false })
            elseif not count(known[1]) or not known[3] then
                local error = 'its metadata is damaged, or not in Redis any more: it was evicted or deleted'
                redis.call('DEL', meta)
                redis.call('HSET', meta, 'status', 'Killed', 'attempts', 0, 'uncounted', 0,
                    'done_at', now[1], 'error', error, 'errors', cjson.encode({ { millis, 0, error } }))
                redis.call('ZADD', dead, millis, task)
                table.insert(damaged, { task, json, false })
            elseif not is_over(task, known[2], known[4]) then
                local attempts = redis.call('HINCRBY', meta, 'attempts', 1)
                redis.call('HSET', meta, 'status', 'Running', 'locked_by', worker,
                    'locked_at', now[1], 'claimed_at', now[1] .. '.' .. now[2])
                redis.call('SADD', claimed, task)
                redis.call('ZADD', held, millis, task)
                redis.call('ZADD', leases, millis, task)
                table.insert(claims, { task, attempts, count(known[7]) or 0, known[3], json, known[5],
                    known[6], is_suspect })
                most = most - 1
            end
        end
    end
end
local most = tonumber(ARGV[4])
claim(suspects, math.min(most, tonumber(ARGV[5])), 1)
claim(active, most - #claims, 0)
return { ended, claims, damaged, 1 }
