-- The record of an expected job. Nothing if it is lost or damaged.
local function read_job(job)
    local is_json, record = pcall(cjson.decode, redis.call('HGET', expected_jobs, job))
    local is_whole = is_json and type(record) == 'table' and type(record.completed) == 'string'
        and type(record.failed) == 'string' and type(record.due_at) == 'number' and type(record.fetches) == 'number'
    return is_whole and record or nil
end

-- Whether an event of the job was accepted.
local function is_settled(record)
    return redis.call('HEXISTS', keys, record.completed) == 1 or redis.call('HEXISTS', keys, record.failed) == 1
end

-- The member of a job in the set of jobs to be fetched. It begins with the account in its name, which may be empty.
local function place_of_fetch(job, at)
    return string.format('%s/%016.0f/%s', string.match(job, '^account:(%w[%w_.-]*)/') or '', at, job)
end

-- Writes the record of a job, with the time of its next fetch, if there is one.
local function fetch_at(job, record, at)
    if record.fetch_at then redis.call('ZREM', fetches, place_of_fetch(job, record.fetch_at)) end
    record.fetch_at = at
    if at then redis.call('ZADD', fetches, 0, place_of_fetch(job, at)) end
    redis.call('HSET', expected_jobs, job, cjson.encode(record))
end

-- Stops expecting a job. Returns 1, or 0 if it was not expected.
local function cancel(job)
    local record = read_job(job)
    if record then fetch_at(job, record) end
    redis.call('HDEL', expected_jobs, job)
    redis.call('ZREM', overdue, job)
    return redis.call('ZREM', look_ups, job)
end

