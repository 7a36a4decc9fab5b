-- Accepts a task: writes its record, its request and its need, and queues it.
-- ARGV 1 id, 2 tenant, 3 idempotency key or '', 4 hash of the request, 5 body, 6 need digest, 7 need (JSON), 8 order offset (ms before now),
--      9 deadline (ms from now, 0 none), 10 fingerprint of the workflow, then field and value pairs of the record
-- Returns {'accepted', id, {generations: limit, left, ms until one is given back}} (the third only where such a limit holds) | {'replayed', id} |
--         {'key-reused'} | {'queue-full', waiting} | {'memory-full'} | {'workflow-quarantined', for how long (ms), why (JSON)} |
--         {'over-quota', {limit, its value, ms until that may have changed}}
-- Replay-safe by the id, and by the idempotency key where there is one.
local id, tenant, key = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', K.task .. id) == 1 then return { 'accepted', id } end
local idempotency = K.idempotency .. tenant .. ':' .. key
if key ~= '' then
  local known = redis.call('GET', idempotency)
  if known then
    local known_id, hash = string.match(known, '^(%S+) (%S+)$')
    if hash ~= ARGV[4] then return { 'key-reused' } end
    return { 'replayed', known_id }
  end
end
local poison = K.poison .. tenant .. ':' .. ARGV[10]
local why = redis.call('GET', poison)
if why then return { 'workflow-quarantined', redis.call('PTTL', poison), why } end
if redis.call('HGET', K.counters, 'memoryFull') == '1' then return { 'memory-full' } end
local reached = quota_reached(tenant, 1)
if reached then return { 'over-quota', reached } end
local waiting = redis.call('ZCARD', K.delayed)
for _, count in ipairs(redis.call('HVALS', K.queued)) do waiting = waiting + tonumber(count) end
if waiting >= L.maxQueued then return { 'queue-full', tostring(waiting) } end

if key ~= '' then redis.call('SET', idempotency, id .. ' ' .. ARGV[4], 'PX', L.idempotencyMs) end
redis.call('SET', K.body .. id, ARGV[5])
redis.call('SET', K.need .. ARGV[6], ARGV[7], 'PX', L.keepNeedMs)
local task = K.task .. id
redis.call('HSET', task, 'tenant', tenant, 'need', ARGV[6], 'attempt', 0, 'createdMs', now, 'order', now - tonumber(ARGV[8]), 'fingerprint', ARGV[10], unpack(ARGV, 11))
local deadline = tonumber(ARGV[9])
if deadline > 0 then redis.call('HSET', task, 'deadlineMs', now + deadline) end
watch_time(id)
redis.call('ZADD', K.tasks .. tenant, 0, id)
redis.call('ZREMRANGEBYLEX', K.tasks .. tenant, '-', string.format('(task_%012x', now - L.keepFailedMs))
redis.call('ZREMRANGEBYRANK', K.tasks .. tenant, 0, -L.maxListed - 1)
redis.call('PEXPIRE', K.tasks .. tenant, L.keepFailedMs)
join_queue(id)
record(id, 'task.queued')
return { 'accepted', id, count_generation(tenant, id) }
