-- Takes over an event from the outbox: its delivery is recorded, and from now on its webhook is owed it.
-- ARGV 1 task, 2 version, 3 tenant, 4 url, 5 event type, 6 body to post
-- Returns 'owed' | 'known'
-- Replay-safe by the delivery: an event is recorded once, whatever became of it.
local id = ARGV[1] .. '-' .. ARGV[2]
if redis.call('EXISTS', K.delivery .. id) == 1 then return 'known' end
redis.call('HSET', K.delivery .. id, 'task', ARGV[1], 'version', ARGV[2], 'tenant', ARGV[3], 'url', ARGV[4], 'type', ARGV[5], 'body', ARGV[6],
  'state', 'pending', 'tries', 0, 'createdMs', now, 'owedMs', now)
redis.call('PEXPIRE', K.delivery .. id, L.keepOwedMs)
redis.call('ZADD', K.undelivered .. ARGV[1], ARGV[2], ARGV[2])
redis.call('PEXPIRE', K.undelivered .. ARGV[1], L.keepOwedMs)
local index = K.deliveries .. ARGV[3]
redis.call('ZADD', index, 0, ARGV[1] .. '-' .. string.format('%09d', ARGV[2]))
redis.call('ZREMRANGEBYLEX', index, '-', string.format('(task_%012x', now - L.keepOwedMs * 2))
redis.call('ZREMRANGEBYRANK', index, 0, -L.maxListed - 1)
redis.call('PEXPIRE', index, L.keepOwedMs * 2)
return 'owed'
