-- Forgets uploaded files that have expired, and tells which paths of the store to remove. A path is told until it is reported removed.
-- ARGV 1 how many of each at most
-- Returns paths
local limit = tonumber(ARGV[1])
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.inputs, '-inf', now, 'LIMIT', 0, limit)) do
  local path, bytes = unpack(redis.call('HMGET', K.input .. member, 'path', 'bytes'))
  if path then
    local tenant = string.match(member, '^(.*):')
    redis.call('ZADD', K.waste, now, path)
    if redis.call('HINCRBY', K.inputBytes, tenant, -tonumber(bytes)) <= 0 then redis.call('HDEL', K.inputBytes, tenant) end
  end
  redis.call('DEL', K.input .. member)
  redis.call('ZREM', K.inputs, member)
end
return redis.call('ZRANGEBYSCORE', K.waste, '-inf', now, 'LIMIT', 0, limit)
