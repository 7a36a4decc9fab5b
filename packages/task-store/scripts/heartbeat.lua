-- Takes a node's report; renews its slot if it names the slot's token; tells it what to do.
-- ARGV 1 node, 2 epoch, 3 report (JSON), 4 intent (ready, draining or occupied), 5 token of the attempt in hand or ''
-- Returns {'run', task, token, task hash, request, need (JSON)} | {'ok'} | {'cancel'} | {'lost'} | {'idle'} | {'restart', wish} | {'stale-node'}
local node, token = K.node .. ARGV[1], ARGV[5]
local n = redis.call('HMGET', node, 'epoch', 'slotTask', 'slotToken', 'intent', 'restart')
if n[1] ~= ARGV[2] then return { 'stale-node' } end
redis.call('ZADD', K.nodes, now, ARGV[1])
redis.call('HSET', node, 'report', ARGV[3], 'intent', ARGV[4])
if n[4] ~= ARGV[4] and ARGV[4] == 'ready' then redis.call('PUBLISH', K.wakeDispatch, ARGV[1]) end
local id, slot_token = n[2], n[3]
local nothing = n[5] and { 'restart', n[5] } or { 'idle' }
if token ~= '' then
  if token ~= slot_token then return { 'lost' } end
  redis.call('ZADD', K.slots, now + L.leaseMs, ARGV[1])
  local t = redis.call('HMGET', K.task .. id, 'state', 'token')
  if t[2] == token and (t[1] == 'leased' or t[1] == 'running') then return { 'ok' } end
  return { 'cancel' }
end
if not slot_token then return nothing end
local t = redis.call('HMGET', K.task .. id, 'state', 'token')
if t[2] == slot_token and (t[1] == 'leased' or t[1] == 'running') then
  return { 'run', id, slot_token, redis.call('HGETALL', K.task .. id), redis.call('GET', K.body .. id), redis.call('GET', K.need .. field(id, 'need')) }
end
empty_slot(ARGV[1])
return nothing
