-- What the scripts share: each gets what it needs of it, and in place of K.name and L.name the key names and limits (ms unless said) of
-- keys.ts and limits.ts (link-script.ts). Every definition begins in the first column. Every time is Redis time.

local function now_ms()
  if L.clockKey then return tonumber(redis.call('GET', L.clockKey)) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local now = now_ms()

local TERMINAL = { succeeded = true, failed = true, cancelled = true, expired = true }
local SHOWN = { leased = 'queued', delayed = 'queued' }

local function field(id, name)
  return redis.call('HGET', K.task .. id, name) or ''
end

-- Appends one journal entry, raises the version and tells readers that there is something to read; of a new task nobody can be one. What a
-- webhook waits for goes into the outbox as well.
local function record(id, event, reason)
  local key = K.task .. id
  local version = redis.call('HINCRBY', key, 'version', 1)
  local t = redis.call('HMGET', key, 'state', 'attempt', 'node', 'webhookEvents', 'webhookUrl', 'tenant')
  local entry = {
    type = event, taskId = id, version = version, at = now, state = SHOWN[t[1]] or t[1],
    attempt = tonumber(t[2]) or 0, node = t[3] or cjson.null, reason = reason
  }
  if redis.call('RPUSH', K.journal .. id, cjson.encode(entry)) > 64 then redis.call('LTRIM', K.journal .. id, -64, -1) end
  if version > 1 then redis.call('PUBLISH', K.events, id .. ' ' .. version .. ' ' .. t[1]) end
  if t[4] and string.find(t[4], ' ' .. event .. ' ', 1, true) then
    redis.call('RPUSH', K.outbox, cjson.encode({ event = entry, url = t[5], tenant = t[6] }))
    redis.call('PUBLISH', K.wakeOutbox, id)
  end
end

local function models_of(need)
  local text = redis.call('GET', K.need .. need)
  if not text then return {} end
  local seen, found = {}, {}
  for _, choice in ipairs(cjson.decode(text).models) do
    local file = string.gsub(choice.value, '\\', '/')
    if not seen[file] then seen[file] = true; found[#found + 1] = file end
  end
  return found
end

-- Puts a task into its tenant's queue for its need, at its old place when it comes back.
local function join_queue(id)
  local t = redis.call('HMGET', K.task .. id, 'tenant', 'need', 'order', 'work')
  local tenant, need = t[1], t[2]
  local name = tenant .. ':' .. need
  redis.call('HSET', K.task .. id, 'state', 'queued', 'queuedMs', now)
  redis.call('ZADD', K.queue .. name, t[3], id)
  redis.call('ZADD', K.short .. name, t[4], id)
  if redis.call('ZCARD', K.queue .. name) == 1 then
    for _, model in ipairs(models_of(need)) do redis.call('SADD', K.waiting .. model, name) end
  end
  redis.call('ZADD', K.queues .. tenant, 'LT', t[3], need)
  redis.call('HINCRBY', K.queued, tenant, 1)
  if not redis.call('ZSCORE', K.flows, tenant) then
    local v = tonumber(redis.call('HGET', K.fairness, 'v') or '0')
    local s = tonumber(redis.call('HGET', K.fairness, 's:' .. tenant) or '0')
    redis.call('HSET', K.fairness, 's:' .. tenant, tostring(math.max(v, s)))
    redis.call('ZADD', K.flows, math.max(v, s), tenant)
  end
  redis.call('PUBLISH', K.wakeDispatch, id)
end

-- Takes a task out of its queue; false when it is not there.
local function leave_queue(id)
  local t = redis.call('HMGET', K.task .. id, 'tenant', 'need')
  local tenant, need = t[1], t[2]
  local name = tenant .. ':' .. need
  if redis.call('ZREM', K.queue .. name, id) == 0 then return false end
  redis.call('ZREM', K.short .. name, id)
  if redis.call('HINCRBY', K.queued, tenant, -1) <= 0 then redis.call('HDEL', K.queued, tenant) end
  local head = redis.call('ZRANGE', K.queue .. name, 0, 0, 'WITHSCORES')
  if head[2] then
    redis.call('ZADD', K.queues .. tenant, 'XX', head[2], need)
    return true
  end
  redis.call('ZREM', K.queues .. tenant, need)
  for _, model in ipairs(models_of(need)) do redis.call('SREM', K.waiting .. model, name) end
  if redis.call('EXISTS', K.queues .. tenant) == 0 then redis.call('ZREM', K.flows, tenant) end
  return true
end

-- What a tenant may use and does use: see contract/tenant.ts. A limit that is not set does not hold.
local HOUR, DAY = 3600000, 86400000

local function spent_key(tenant)
  return K.spent .. tenant .. ':' .. math.floor(now / DAY)
end

local function is_spent(tenant, limit)
  return limit and tonumber(redis.call('GET', spent_key(tenant)) or '0') >= tonumber(limit)
end

-- True while a tenant may not be given another GPU.
local function at_cap(tenant)
  local t = redis.call('HMGET', K.tenant .. tenant, 'maxRunning', 'gpuSecondsPerDay')
  if t[1] and tonumber(redis.call('HGET', K.running, tenant) or '0') >= tonumber(t[1]) then return true end
  return is_spent(tenant, t[2]) or false
end

-- Why a tenant may not add so many tasks now: {limit, its value, ms until that may have changed}. Nil when it may.
local function quota_reached(tenant, adds)
  local t = redis.call('HMGET', K.tenant .. tenant, 'maxQueued', 'gpuSecondsPerDay', 'generationsPerHour')
  if t[1] and tonumber(redis.call('HGET', K.queued, tenant) or '0') + adds > tonumber(t[1]) then return { 'maxQueued', t[1], 10000 } end
  if is_spent(tenant, t[2]) then return { 'gpuSecondsPerDay', t[2], DAY - now % DAY } end
  local over = t[3] and redis.call('ZCOUNT', K.generated .. tenant, now - HOUR + 1, '+inf') + adds - tonumber(t[3]) or 0
  if over <= 0 then return nil end
  local last = redis.call('ZRANGEBYSCORE', K.generated .. tenant, now - HOUR + 1, '+inf', 'WITHSCORES', 'LIMIT', over - 1, 1)
  return { 'generationsPerHour', t[3], last[2] and last[2] + HOUR - now or HOUR }
end

-- Counts a task against its tenant's generations. Returns {limit, left, ms until the next one is given back}, or nothing where no limit holds.
local function count_generation(tenant, id)
  local limit, key = redis.call('HGET', K.tenant .. tenant, 'generationsPerHour'), K.generated .. tenant
  if not limit then return end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - HOUR)
  redis.call('ZADD', key, now, id)
  redis.call('PEXPIRE', key, HOUR)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return { limit, tostring(math.max(0, limit - redis.call('ZCARD', key))), tostring(first[2] + HOUR - now) }
end

-- Moves a tenant's place in the fair queue, the same number in fairness and, while it waits, in flows.
local function move_place(tenant, by)
  local s = tonumber(redis.call('HGET', K.fairness, 's:' .. tenant) or '0') + by
  redis.call('HSET', K.fairness, 's:' .. tenant, tostring(s))
  if redis.call('ZSCORE', K.flows, tenant) then redis.call('ZINCRBY', K.flows, by, tenant) end
end

-- Charges a tenant GPU-seconds ÷ weight; a correction when negative.
local function charge(tenant, used)
  move_place(tenant, used / tonumber(redis.call('HGET', K.tenant .. tenant, 'weight') or '1'))
end

-- Replaces the estimate that claim charged by what was really used, and adds that to the tenant's day.
local function settle_charge(id, used)
  local t = redis.call('HMGET', K.task .. id, 'tenant', 'charged')
  local charged = tonumber(t[2] or '0') or 0
  if charged ~= used then charge(t[1], used - charged) end
  redis.call('HDEL', K.task .. id, 'charged')
  if used <= 0 then return end
  redis.call('INCRBYFLOAT', spent_key(t[1]), used)
  redis.call('PEXPIRE', spent_key(t[1]), 2 * DAY)
end

local function empty_slot(node)
  redis.call('HDEL', K.node .. node, 'slotTask', 'slotToken')
  redis.call('ZREM', K.slots, node)
  redis.call('PUBLISH', K.wakeDispatch, node)
end

-- The task no longer occupies a slot, whatever comes next for it.
local function leave_slot(id, used)
  local t = redis.call('HMGET', K.task .. id, 'tenant', 'node', 'token')
  settle_charge(id, used)
  if redis.call('HINCRBY', K.running, t[1], -1) <= 0 then redis.call('HDEL', K.running, t[1]) end
  if t[2] and redis.call('HGET', K.node .. t[2], 'slotToken') == t[3] then empty_slot(t[2]) end
end

local function watch_time(id)
  local deadline = tonumber(field(id, 'deadlineMs')) or 0
  if deadline > 0 then redis.call('ZADD', K.deadlines, deadline, id) else redis.call('ZREM', K.deadlines, id) end
end

-- Makes a state final and starts the retention of everything that belongs to the task.
local function finish(id, state, event, reason)
  redis.call('HSET', K.task .. id, 'state', state, 'finishedMs', now)
  redis.call('ZREM', K.deadlines, id)
  record(id, event, reason)
  redis.call('HINCRBY', K.counters, state, 1)
  redis.call('LPUSH', K.ended, id)
  redis.call('LTRIM', K.ended, 0, L.maxEnded - 1)
  redis.call('PEXPIRE', K.ended, L.keepFailedMs)
  local keep = state == 'failed' and L.keepFailedMs or L.keepMs
  for _, key in ipairs({ K.task, K.body, K.result, K.journal, K.logs }) do redis.call('PEXPIRE', key .. id, keep) end
  redis.call('SET', K.gone .. id, field(id, 'tenant'), 'PX', keep * 2)
end

local function fail_with(id, problem, reason)
  redis.call('SET', K.result .. id, problem)
  redis.call('HINCRBY', K.counters, 'failed:' .. (string.match(problem, '"code":"([%l%-]+)"') or 'unknown'), 1)
  finish(id, 'failed', 'task.failed', reason)
end

-- A node failed an attempt by its own fault. The third time in a row, and on probation the first, it is left alone for a while, unless
-- too many nodes are already. Returns for how long (ms); 0 when it stays.
local function node_fault(node)
  local key = K.node .. node
  local faults = redis.call('HINCRBY', key, 'faults', 1)
  local times = tonumber(redis.call('HGET', key, 'quarantines') or '0')
  if faults < L.quarantineFaults and times == 0 then return 0 end
  redis.call('ZREMRANGEBYSCORE', K.quarantined, '-inf', now)
  local alive = redis.call('ZCOUNT', K.nodes, '(' .. now - L.aliveMs, '+inf')
  if redis.call('ZCARD', K.quarantined) >= math.max(1, math.floor(alive * L.quarantineShare)) then return 0 end
  local pause = math.min(L.quarantineMs * (times + 1), L.maxQuarantineMs)
  redis.call('HSET', key, 'faults', 0, 'quarantines', times + 1, 'quarantinedUntilMs', now + pause)
  redis.call('ZADD', K.quarantined, now + pause, node)
  redis.call('HINCRBY', K.counters, 'nodeQuarantines', 1)
  return pause
end

-- A node brought an attempt to its end: what was against it is forgotten.
local function node_success(node)
  if redis.call('HDEL', K.node .. node, 'faults', 'quarantines', 'quarantinedUntilMs') > 0 then redis.call('ZREM', K.quarantined, node) end
end

-- Refuses a workflow to its tenant for a while: it took ComfyUI down on more than one node.
local function quarantine_workflow(id)
  local t = redis.call('HMGET', K.task .. id, 'tenant', 'fingerprint', 'downed')
  local name = t[1] .. ':' .. (t[2] or '')
  if not t[2] or not string.find(t[3] or '', ',', 1, true) then return end
  redis.call('SET', K.poison .. name, cjson.encode({ task = id, nodes = t[3], sinceMs = now }), 'PX', L.poisonMs)
  redis.call('ZREMRANGEBYSCORE', K.poisons, '-inf', now)
  redis.call('ZADD', K.poisons, now + L.poisonMs, name)
end

-- Adds the task's node to a list that the task keeps.
local function list_node(id, name)
  local node, list = field(id, 'node'), field(id, name)
  if node == '' or string.find(',' .. list .. ',', ',' .. node .. ',', 1, true) then return end
  redis.call('HSET', K.task .. id, name, list == '' and node or list .. ',' .. node)
end

-- Sends a task back after an attempt that gave no result, or fails it when the budget of that class is used up.
-- The caller has taken it out of its slot. Returns 'retried' or 'failed'.
local function retry(id, class, budget, delay, exhausted, avoid)
  local used = redis.call('HINCRBY', K.task .. id, 'used:' .. class, 1)
  if avoid then list_node(id, 'avoid') end
  if class == 'comfyui-died' then list_node(id, 'downed') end
  if used > budget then
    if class == 'comfyui-died' then quarantine_workflow(id) end
    fail_with(id, exhausted, class)
    return 'failed'
  end
  redis.call('HDEL', K.task .. id, 'token', 'startedMs', 'outputs')
  redis.call('DEL', K.result .. id)
  watch_time(id)
  if delay > 0 then
    redis.call('HSET', K.task .. id, 'state', 'delayed')
    redis.call('ZADD', K.delayed, now + delay, id)
  else
    join_queue(id)
  end
  record(id, 'task.retried', class)
  redis.call('HDEL', K.task .. id, 'node')
  return 'retried'
end

-- Ends a slot whose holder is gone. The task goes back only if it still carries the slot's token.
local function recover(node)
  local n = redis.call('HMGET', K.node .. node, 'slotTask', 'slotToken')
  local id, token = n[1], n[2]
  empty_slot(node)
  if not id then return false end
  local t = redis.call('HMGET', K.task .. id, 'state', 'token', 'claimedMs')
  if (t[1] ~= 'leased' and t[1] ~= 'running') or t[2] ~= token then return false end
  leave_slot(id, 0)
  retry(id, 'lost', L.lostBudget, 0, L.lostProblem, true)
  return id
end

-- Keeps what ComfyUI wrote into its log during an attempt, after what earlier attempts left; of too much the beginning goes.
local function keep_log(id, text)
  if text == '' then return end
  text = (redis.call('GET', K.logs .. id) or '') .. text
  if #text > L.maxLogBytes then
    local from = string.find(text, '\n', #text - L.maxLogBytes, true)
    if not from or from == #text then from = #text - L.maxLogBytes end
    text = string.sub(text, from + 1)
  end
  redis.call('SET', K.logs .. id, text)
end

-- Makes the outputs stored so far visible, unless as many are already.
local function show_outputs(id, manifest, count)
  if (tonumber(field(id, 'outputs')) or 0) >= count then return end
  redis.call('HSET', K.task .. id, 'outputs', count)
  redis.call('SET', K.result .. id, manifest)
  record(id, 'task.output')
end

-- Seconds that an attempt has held its slot.
local function held_seconds(id)
  return math.max(0, now - (tonumber(field(id, 'claimedMs')) or now)) / 1000
end

-- What is known of nodes, of all when none is named: {id, last heartbeat, hash, {need, predicted seconds, claimed, tenant} of the task in its slot}.
local function node_rows(ids)
  local rows = {}
  local function add(id, beat)
    local task = redis.call('HGET', K.node .. id, 'slotTask')
    local held = task and redis.call('HMGET', K.task .. task, 'need', 'charged', 'claimedMs', 'tenant') or {}
    rows[#rows + 1] = { id, beat, redis.call('HGETALL', K.node .. id), held }
  end
  for _, id in ipairs(ids) do add(id, redis.call('ZSCORE', K.nodes, id) or '0') end
  if #ids > 0 then return rows end
  local beats = redis.call('ZRANGE', K.nodes, 0, -1, 'WITHSCORES')
  for i = 1, #beats, 2 do add(beats[i], beats[i + 1]) end
  return rows
end

-- How a task stands now: {now, {field, value, …} of its hash, its result or false, and while it waits: how many of its queue stand before it
-- or false, {seconds of its need to execute a unit of work, to load, of its graph; each or false}; {node row} while it is at a node; while
-- it waits {tasks in its queue, waiting tasks of its tenant, waiting tasks of each other tenant (of 64 tenants)}}
local function read_task(id)
  local hash = redis.call('HGETALL', K.task .. id)
  local t = redis.call('HMGET', K.task .. id, 'state', 'tenant', 'need', 'node', 'fingerprint')
  local before, usual, node, crowd = false, {}, {}, {}
  if t[1] == 'queued' or t[1] == 'delayed' then
    before = redis.call('ZRANK', K.queue .. t[2] .. ':' .. t[3], id)
    usual = redis.call('HMGET', K.stats .. t[3], 'execution', 'load')
    usual[3] = redis.call('HGET', K.graphs, t[5])
    local own = tonumber(redis.call('HGET', K.queued, t[2]) or '0')
    crowd = { redis.call('ZCARD', K.queue .. t[2] .. ':' .. t[3]), own }
    local queued = redis.call('HRANDFIELD', K.queued, 64, 'WITHVALUES')
    for i = 1, #queued, 2 do
      if queued[i] ~= t[2] then crowd[#crowd + 1] = tonumber(queued[i + 1]) end
    end
  elseif t[4] and (t[1] == 'leased' or t[1] == 'running') then
    node = node_rows({ t[4] })
  end
  return { now, hash, redis.call('GET', K.result .. id), before, usual, node, crowd }
end
