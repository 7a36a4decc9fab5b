-- Ends what ran out of time: slots, back-offs, deadlines; forgets nodes that were silent for a day, and tenants that have no work. Any number of balancers may sweep.
-- ARGV 1 how many of each at most
-- Returns {recovered, queued, expired, timed out, held back (1 when the blindness guard postponed recoveries)}
local limit = tonumber(ARGV[1])
local function due(key) return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit) end

-- If nobody swept for a while, or many nodes fell silent together, it was probably we who were blind: wait one more lease.
local last = tonumber(redis.call('HGET', K.counters, 'lastSweepMs') or '0')
redis.call('HSET', K.counters, 'lastSweepMs', now)
local silent = redis.call('ZCOUNT', K.nodes, now - L.blindMs * 2, now - L.aliveMs)
local known = redis.call('ZCOUNT', K.nodes, now - L.blindMs * 2, '+inf')
local unswept = last > 0 and now - last > L.blindMs
local guarded = tonumber(redis.call('HGET', K.counters, 'guardedMs') or '0')
if (unswept or (silent >= 3 and silent * 2 >= known)) and now - guarded > L.leaseMs * 3 then
  guarded = now
  redis.call('HSET', K.counters, 'guardedMs', now)
end
local ended = due(K.slots)
local held_back = #ended > 0 and now - guarded < L.leaseMs
if held_back then
  for _, node in ipairs(ended) do redis.call('ZADD', K.slots, guarded + L.leaseMs, node) end
  ended = {}
end

local recovered, timed_out, expired = 0, 0, 0
for _, node in ipairs(ended) do
  -- A node that speaks but lets its lease run out does not do what it took.
  local is_alive = now - tonumber(redis.call('ZSCORE', K.nodes, node) or '0') < L.aliveMs
  if recover(node) then
    recovered = recovered + 1
    if is_alive then node_fault(node) end
  end
end

local delayed = due(K.delayed)
for _, id in ipairs(delayed) do
  redis.call('ZREM', K.delayed, id)
  if field(id, 'state') == 'delayed' then
    join_queue(id)
    record(id, 'task.queued', 'back-off is over')
  end
end

for _, id in ipairs(due(K.deadlines)) do
  local t = redis.call('HMGET', K.task .. id, 'state', 'deadlineMs', 'tenant', 'node')
  redis.call('ZREM', K.deadlines, id)
  if t[1] == 'queued' or t[1] == 'delayed' then
    if t[1] == 'queued' then leave_queue(id) else redis.call('ZREM', K.delayed, id) end
    finish(id, 'expired', 'task.expired', 'deadline')
    expired = expired + 1
  elseif t[1] == 'leased' or t[1] == 'running' then
    settle_charge(id, held_seconds(id))
    if redis.call('HINCRBY', K.running, t[3], -1) <= 0 then redis.call('HDEL', K.running, t[3]) end
    fail_with(id, tonumber(t[2] or '0') > 0 and tonumber(t[2]) <= now and L.deadlineProblem or L.timeoutProblem, 'timed out')
    redis.call('PUBLISH', K.wake .. t[4], 'cancel')
    timed_out = timed_out + 1
  end
end

local memory = redis.call('INFO', 'memory')
local used, max = tonumber(string.match(memory, 'used_memory:(%d+)')), tonumber(string.match(memory, 'maxmemory:(%d+)'))
redis.call('HSET', K.counters, 'memoryFull', max > 0 and used > max * L.maxMemoryShare and 1 or 0)

for _, node in ipairs(redis.call('ZRANGEBYSCORE', K.nodes, '-inf', now - L.keepNodeMs, 'LIMIT', 0, limit)) do
  if not redis.call('ZSCORE', K.slots, node) then
    redis.call('ZREM', K.nodes, node)
    redis.call('DEL', K.node .. node)
  end
end
-- A tenant without work keeps its place only while that is behind the others'; when nobody has work, all places are equal.
if redis.call('EXISTS', K.flows, K.running, K.delayed) == 0 then
  redis.call('DEL', K.fairness)
else
  local v = tonumber(redis.call('HGET', K.fairness, 'v') or '0')
  local page = redis.call('HSCAN', K.fairness, redis.call('HGET', K.fairness, 'cursor') or '0', 'COUNT', limit)
  redis.call('HSET', K.fairness, 'cursor', page[1])
  for i = 1, #page[2], 2 do
    local kind, tenant = string.match(page[2][i], '^([so]):(.*)$')
    local is_idle = tenant and not redis.call('ZSCORE', K.flows, tenant) and redis.call('HEXISTS', K.running, tenant) == 0
    if is_idle and (kind == 'o' or tonumber(page[2][i + 1]) <= v) then redis.call('HDEL', K.fairness, page[2][i]) end
  end
end
return { recovered, #delayed, expired, timed_out, held_back and 1 or 0 }
