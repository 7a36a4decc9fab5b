-- Cancels a task that has not finished; terminal at once. Its slot is left to the node, or to its end.
-- ARGV 1 task, 2 tenant
-- Returns 'cancelled' | 'not-found' | the state in which it had finished
local id, key = ARGV[1], K.task .. ARGV[1]
local t = redis.call('HMGET', key, 'state', 'tenant', 'node')
if not t[1] or t[2] ~= ARGV[2] then return 'not-found' end
if TERMINAL[t[1]] then return t[1] end
if t[1] == 'queued' then leave_queue(id) end
if t[1] == 'delayed' then redis.call('ZREM', K.delayed, id) end
if t[1] == 'leased' or t[1] == 'running' then
  settle_charge(id, held_seconds(id))
  if redis.call('HINCRBY', K.running, t[2], -1) <= 0 then redis.call('HDEL', K.running, t[2]) end
  redis.call('PUBLISH', K.wake .. t[3], 'cancel')
end
finish(id, 'cancelled', 'task.cancelled')
return 'cancelled'
