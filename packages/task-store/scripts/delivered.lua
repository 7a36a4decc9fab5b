-- Records what became of one try to deliver an event. A webhook that wants no more (gone) is owed nothing further of this task.
-- ARGV 1 task, 2 version, 3 'delivered', 'retry', 'failed' or 'gone', 4 HTTP status or '', 5 error or '', 6 pause before the next try (ms)
-- Returns 'ok' | 'known': it is not pending any more
-- Replay-safe by the delivery's state; a retry told twice counts two tries.
local task, outcome = ARGV[1], ARGV[3]
local key = K.delivery .. task .. '-' .. ARGV[2]
if redis.call('HGET', key, 'state') ~= 'pending' then return 'known' end
redis.call('HSET', key, 'triedMs', now, 'status', ARGV[4], 'error', ARGV[5])
redis.call('HINCRBY', key, 'tries', 1)
if outcome == 'retry' then
  redis.call('HSET', key, 'nextMs', now + tonumber(ARGV[6]))
  return 'ok'
end

local function settle(version, state, keep)
  local delivery = K.delivery .. task .. '-' .. version
  redis.call('ZREM', K.undelivered .. task, version)
  if redis.call('EXISTS', delivery) == 0 then return end
  redis.call('HSET', delivery, 'state', state)
  redis.call('HDEL', delivery, 'nextMs')
  redis.call('PEXPIRE', delivery, keep)
end
if outcome == 'gone' then
  redis.call('HDEL', K.task .. task, 'webhookEvents')
  for _, version in ipairs(redis.call('ZRANGE', K.undelivered .. task, 0, -1)) do settle(version, 'failed', L.keepFailedMs) end
else
  settle(ARGV[2], outcome, outcome == 'delivered' and L.keepMs or L.keepFailedMs)
end
return 'ok'
