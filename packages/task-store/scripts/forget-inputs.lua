-- Forgets uploaded files that have expired, and tells which paths of the store to remove. A path is told until it is reported removed.
-- ARGV 1 how many of each at most
-- Returns paths
local limit = tonumber(ARGV[1])
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.inputs, '-inf', now, 'LIMIT', 0, limit)) do
  local path = redis.call('HGET', K.input .. member, 'path')
  if path then redis.call('ZADD', K.waste, now, path) end
  redis.call('DEL', K.input .. member)
  redis.call('ZREM', K.inputs, member)
end
return redis.call('ZRANGEBYSCORE', K.waste, '-inf', now, 'LIMIT', 0, limit)
