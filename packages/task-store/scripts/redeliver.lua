-- An event is owed to its webhook again, and everything that the webhook is still owed of this task is due now.
-- ARGV 1 task, 2 version, 3 tenant
-- Returns 'owed' | 'not-found'
-- Replay-safe: said twice before the next try, it is one.
local task, version = ARGV[1], ARGV[2]
local key = K.delivery .. task .. '-' .. version
if redis.call('HGET', key, 'tenant') ~= ARGV[3] then return 'not-found' end
redis.call('HSET', key, 'state', 'pending', 'tries', 0, 'owedMs', now)
redis.call('PEXPIRE', key, L.keepOwedMs)
redis.call('ZADD', K.undelivered .. task, version, version)
redis.call('PEXPIRE', K.undelivered .. task, L.keepOwedMs)
for _, owed in ipairs(redis.call('ZRANGE', K.undelivered .. task, 0, -1)) do redis.call('HDEL', K.delivery .. task .. '-' .. owed, 'nextMs') end
redis.call('RPUSH', K.outbox, cjson.encode({ again = task }))
redis.call('PUBLISH', K.wakeOutbox, task)
return 'owed'
