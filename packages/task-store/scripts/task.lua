-- Reads a task: what came of it, and how it stands now.
-- ARGV task
-- Returns {now, {field, value, …} of its hash, its result or false, how many of its queue stand before it or false, mean seconds of its need
-- per unit of work or false, nodes alive, {node row} while it is at a node, {tasks in its queue, waiting tasks of its tenant, slots in use,
-- waiting tasks of each other tenant (of 64 tenants)} while it waits}
local id = ARGV[1]
local hash = redis.call('HGETALL', K.task .. id)
local t = redis.call('HMGET', K.task .. id, 'state', 'tenant', 'need', 'node')
local before, per_work, alive, node, crowd = false, false, 0, {}, {}
if t[1] == 'queued' or t[1] == 'delayed' then
  before = redis.call('ZRANK', K.queue .. t[2] .. ':' .. t[3], id)
  per_work = redis.call('HGET', K.stats .. t[3], 'execution')
  alive = redis.call('ZCOUNT', K.nodes, now - L.aliveMs, '+inf')
  local own = tonumber(redis.call('HGET', K.queued, t[2]) or '0')
  crowd = { redis.call('ZCARD', K.queue .. t[2] .. ':' .. t[3]), own, redis.call('ZCARD', K.slots) }
  local queued = redis.call('HRANDFIELD', K.queued, 64, 'WITHVALUES')
  for i = 1, #queued, 2 do
    if queued[i] ~= t[2] then crowd[#crowd + 1] = tonumber(queued[i + 1]) end
  end
elseif t[4] and (t[1] == 'leased' or t[1] == 'running') then
  node = node_rows({ t[4] })
end
return { now, hash, redis.call('GET', K.result .. id), before, per_work, alive, node, crowd }
