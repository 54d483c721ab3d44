-- What every script begins with: the keys of the inbox in the order of redis.rs, and the time.
local unpack = unpack or table.unpack
local next_id, keys, payloads, events, ready, ready_of_account, errors, quarantined, running, done, dead, workers, expected_jobs,
    look_ups, overdue, fetches, leader, pauses, conflicts = unpack(KEYS)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

