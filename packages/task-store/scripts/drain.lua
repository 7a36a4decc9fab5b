-- What is wanted of a node: out of dispatch, back into it, or its ComfyUI restarted, for which it is given nothing until it has been. What
-- runs there goes on. It holds until it is taken back (`resume` takes back either), restarts of comfy-service included.
-- ARGV 1 node, 2 'drain' | 'resume' | 'restart' | 'restarted', 3 the wish (a nonce) of the latter two, else ''
-- Returns 'ok' | 'not-found'
-- Replay-safe by the wish: one that was fulfilled is not taken again.
local key, what, wish = K.node .. ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', key) == 0 then return 'not-found' end
local n = redis.call('HMGET', key, 'restart', 'restarted')
if what == 'drain' then
  redis.call('HSET', key, 'drained', 1)
elseif what == 'restart' then
  if n[2] == wish then return 'ok' end
  redis.call('HSET', key, 'restart', wish)
  redis.call('PUBLISH', K.wake .. ARGV[1], wish)
elseif what == 'resume' then
  redis.call('HDEL', key, 'drained', 'restart')
  redis.call('PUBLISH', K.wakeDispatch, ARGV[1])
elseif n[1] == wish then
  redis.call('HDEL', key, 'restart')
  redis.call('HSET', key, 'restarted', wish)
  redis.call('PUBLISH', K.wakeDispatch, ARGV[1])
end
return 'ok'
