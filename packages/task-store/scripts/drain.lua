-- An operator takes a node out of dispatch, or puts it back; what runs there goes on. It holds until it is taken back, restarts included.
-- ARGV 1 node, 2 drain (1 or 0)
-- Returns 'ok' | 'not-found'
local key = K.node .. ARGV[1]
if redis.call('EXISTS', key) == 0 then return 'not-found' end
if ARGV[2] == '1' then
  redis.call('HSET', key, 'drained', 1)
else
  redis.call('HDEL', key, 'drained')
  redis.call('PUBLISH', K.wakeDispatch, ARGV[1])
end
return 'ok'
