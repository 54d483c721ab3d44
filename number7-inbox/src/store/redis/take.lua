-- Takes overdue jobs that are to be fetched now, some of each account. They rest from then on. Returns for each one whether it
-- is settled, and how often it was taken.
-- ARGV: milliseconds of the first rest, of the longest, how many of each account, the accounts
local taken = {}
local function take(place, job)
    local record = read_job(job)
    local times = record and record.fetches + 1 or 1
    local at = now + math.min(ARGV[2], ARGV[1] * 2 ^ math.min(times - 1, 30))
    if record then
        record.fetches = times
        fetch_at(job, record, at)
    else
        redis.call('ZREM', fetches, place)
        redis.call('ZADD', fetches, 0, place_of_fetch(job, at))
    end
    table.insert(taken, { job, record and is_settled(record) and 1 or 0, times })
end
for i = 4, #ARGV do
    local from, to = '[' .. ARGV[i] .. '/', string.format('(%s/%016.0f', ARGV[i], now + 1)
    for _, place in ipairs(redis.call('ZRANGEBYLEX', fetches, from, to, 'LIMIT', 0, ARGV[3])) do
        local job = string.match(place, '^[^/]*/%d+/(.+)$')
        local record = job and read_job(job)
        local is_its_place = record and record.fetch_at and place == place_of_fetch(job, record.fetch_at)
        if is_its_place or job and not record and redis.call('ZSCORE', look_ups, job) then
            take(place, job)
        else
            -- Its record was lost or damaged meanwhile.
            redis.call('ZREM', fetches, place)
        end
    end
end
return taken
