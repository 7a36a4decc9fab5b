-- Reads what the policy looks at: the queues of the least-served tenants and those waiting for a model that a node holds, from each the
-- foremost and the shortest tasks; and the nodes. A tenant that may not be given another GPU is passed over.
-- ARGV 1 tenants at most, 2 queues at most, 3 tasks per queue and order, 4 tasks in all, then the models that nodes hold
-- Returns {now, waiting, {tenant, start, overtaken, weight, …}, {id, tenant, need, order, work, avoid, accepted, stay, VRAM above, …},
-- {node row, …}, {known seconds of each task's graph or false, …}}; nothing but the time when nothing waits of a tenant that is not passed over
local capped = {}
local function is_capped(tenant)
  if capped[tenant] == nil then capped[tenant] = at_cap(tenant) end
  return capped[tenant]
end
local tenants, most = {}, tonumber(ARGV[1])
for from = 0, most * 15, most do
  local page = redis.call('ZRANGE', K.flows, from, from + most - 1)
  for _, tenant in ipairs(page) do
    if #tenants < most and not is_capped(tenant) then tenants[#tenants + 1] = tenant end
  end
  if #page < most or #tenants == most then break end
end
if #tenants == 0 then return { now, 0, {}, {}, {}, {} } end
local queues, listed, flows = {}, {}, {}
local max_queues = tonumber(ARGV[2])
local function add(name)
  if not listed[name] and #queues < max_queues then
    listed[name] = true
    queues[#queues + 1] = name
  end
end
local share = math.max(1, math.floor(max_queues / #tenants))
for _, tenant in ipairs(tenants) do
  for _, need in ipairs(redis.call('ZRANGE', K.queues .. tenant, 0, share - 1)) do add(tenant .. ':' .. need) end
end
max_queues = max_queues * 2
for i = 5, #ARGV do
  for _, name in ipairs(redis.call('SRANDMEMBER', K.waiting .. ARGV[i], 16)) do
    if not is_capped(string.match(name, '^(.*):')) then add(name) end
  end
end

-- Each costs some microseconds in every look; many queues are looked at less deeply.
local per_queue = math.max(1, math.min(tonumber(ARGV[3]), math.floor(tonumber(ARGV[4]) / (2 * #queues)))) - 1
local tasks, taken, seen, graphs = {}, {}, {}, {}
for _, name in ipairs(queues) do
  local tenant, need = string.match(name, '^(.*):([^:]+)$')
  if not seen[tenant] then
    seen[tenant] = true
    local start = redis.call('ZSCORE', K.flows, tenant) or '0'
    flows[#flows + 1] = tenant
    flows[#flows + 1] = start
    flows[#flows + 1] = redis.call('HGET', K.fairness, 'o:' .. tenant) or '0'
    flows[#flows + 1] = redis.call('HGET', K.tenant .. tenant, 'weight') or '1'
  end
  for _, order in ipairs({ K.queue, K.short }) do
    for _, id in ipairs(redis.call('ZRANGE', order .. name, 0, per_queue)) do
      if not taken[id] then
        taken[id] = true
        local t = redis.call('HMGET', K.task .. id, 'order', 'work', 'avoid', 'createdMs', 'stay', 'vramAbove', 'fingerprint')
        for _, value in ipairs({ id, tenant, need, t[1] or '0', t[2] or '1', t[3] or '', t[4] or '0', t[5] or '', t[6] or '' }) do tasks[#tasks + 1] = value end
        graphs[#graphs + 1] = t[7] or ''
      end
    end
  end
end
local waiting = 0
local queued = redis.call('HGETALL', K.queued)
for i = 1, #queued, 2 do
  if not is_capped(queued[i]) then waiting = waiting + tonumber(queued[i + 1]) end
end
local seconds = #graphs > 0 and redis.call('HMGET', K.graphs, unpack(graphs)) or {}
return { now, waiting, flows, tasks, node_rows({}), seconds }
