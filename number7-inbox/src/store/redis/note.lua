-- Adds a note to the errors of an event. What is not a list there is replaced.
local function note(meta, millis, attempts, text)
    local is_read, errors = pcall(cjson.decode, redis.call('HGET', meta, 'errors') or '[]')
    if not is_read or type(errors) ~= 'table' or #errors == 0 then errors = {} end
    table.insert(errors, { millis, attempts, text })
    local is_written, json = pcall(cjson.encode, errors)
    redis.call('HSET', meta, 'errors', is_written and json or cjson.encode({ errors[#errors] }))
end

