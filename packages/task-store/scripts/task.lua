-- Reads a task with what came of it.
-- ARGV task
-- Returns {{field, value, …} of its hash, its result or false}
local id = ARGV[1]
return { redis.call('HGETALL', K.task .. id), redis.call('GET', K.result .. id) }
