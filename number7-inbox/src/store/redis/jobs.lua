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

-- Stops expecting a job. Returns 1, or 0 if it was not expected.
local function cancel(job)
    redis.call('HDEL', expected_jobs, job)
    redis.call('ZREM', overdue, job)
    redis.call('ZREM', fetches, job)
    return redis.call('ZREM', look_ups, job)
end

