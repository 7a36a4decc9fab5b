-- Accepts a task, or the tasks of a group all at once: writes records, requests and needs, and queues them.
-- ARGV 1 id of the task or group, 2 tenant, 3 idempotency key or '', 4 hash of the request, 5 how many tasks, then for each of them:
--      1 id, 2 body, 3 need digest, 4 need (JSON), 5 order offset (ms before now), 6 deadline (ms from now, 0 none),
--      7 fingerprint of the workflow, 8 how many texts follow, and these: field and value pairs of the record
-- Returns {'accepted', id, {generations: limit, left, ms until one is given back} or false where no such limit holds, what read_task says
--         of a task, or false of a group} | {'replayed', id} | {'key-reused'} | {'queue-full', waiting} | {'memory-full'} | {'workflow-quarantined', for how long (ms), why (JSON)} |
--         {'over-quota', {limit, its value, ms until that may have changed}}
-- Replay-safe by the id, and by the idempotency key where there is one.
local id, tenant, key, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
if redis.call('EXISTS', K.task .. id, K.group .. id) > 0 then return { 'accepted', id, false, ARGV[6] == id and read_task(id) } end
local idempotency = K.idempotency .. tenant .. ':' .. key
if key ~= '' then
  local known = redis.call('GET', idempotency)
  if known then
    local known_id, hash = string.match(known, '^(%S+) (%S+)$')
    if hash ~= ARGV[4] then return { 'key-reused' } end
    return { 'replayed', known_id }
  end
end
local at, starts = 6, {}
for n = 1, count do starts[n], at = at, at + 8 + tonumber(ARGV[at + 7]) end
for _, start in ipairs(starts) do
  local poison = K.poison .. tenant .. ':' .. ARGV[start + 6]
  local why = redis.call('GET', poison)
  if why then return { 'workflow-quarantined', redis.call('PTTL', poison), why } end
end
if redis.call('HGET', K.counters, 'memoryFull') == '1' then return { 'memory-full' } end
local reached = quota_reached(tenant, count)
if reached then return { 'over-quota', reached } end
local waiting = redis.call('ZCARD', K.delayed)
for _, queued in ipairs(redis.call('HVALS', K.queued)) do waiting = waiting + tonumber(queued) end
if waiting + count > L.maxQueued then return { 'queue-full', tostring(waiting) } end

if key ~= '' then redis.call('SET', idempotency, id .. ' ' .. ARGV[4], 'PX', L.idempotencyMs) end
local members, longest, left = {}, 0, nil
for n, at in ipairs(starts) do
  local member, need, deadline = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 5])
  local task = K.task .. member
  redis.call('SET', K.body .. member, ARGV[at + 1])
  redis.call('SET', K.need .. need, ARGV[at + 3], 'PX', L.keepNeedMs)
  redis.call('HSET', task, 'tenant', tenant, 'need', need, 'attempt', 0, 'createdMs', now, 'order', now - tonumber(ARGV[at + 4]),
    'fingerprint', ARGV[at + 6], unpack(ARGV, at + 8, at + 7 + tonumber(ARGV[at + 7])))
  if deadline > 0 then
    redis.call('HSET', task, 'deadlineMs', now + deadline)
    redis.call('ZADD', K.deadlines, now + deadline, member)
  end
  redis.call('ZADD', K.tasks .. tenant, 0, member)
  join_queue(member)
  record(member, 'task.queued')
  members[n], longest, left = member, math.max(longest, deadline), count_generation(tenant, member) or false
end
redis.call('ZREMRANGEBYLEX', K.tasks .. tenant, '-', string.format('(task_%012x', now - L.keepFailedMs))
redis.call('ZREMRANGEBYRANK', K.tasks .. tenant, 0, -L.maxListed - 1)
redis.call('PEXPIRE', K.tasks .. tenant, L.keepFailedMs)
if members[1] ~= id then
  redis.call('HSET', K.group .. id, 'tenant', tenant, 'createdMs', now, 'tasks', table.concat(members, ' '))
  redis.call('PEXPIRE', K.group .. id, longest + L.keepFailedMs)
end
return { 'accepted', id, left, members[1] == id and read_task(id) }
