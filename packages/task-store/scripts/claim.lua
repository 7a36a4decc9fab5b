-- Gives a free node's slot to a queued task: the hand-over. Charges the tenant what the attempt is predicted to take.
-- ARGV 1 node, 2 epoch, 3 task, 4 nonce, 5 predicted seconds, 6 why (JSON, for the timeline), then the tenants that were overtaken
-- Returns 'claimed' | 'stale-node' | 'not-ready' | 'occupied' | 'not-queued' | 'at-cap'
-- Replay-safe by the nonce: the slot that holds it is its claim, and once that attempt has ended it claims nothing more (of the latest 15).
local node, id, nonce = K.node .. ARGV[1], ARGV[3], ARGV[4]
local n = redis.call('HMGET', node, 'epoch', 'slotToken', 'intent', 'quarantinedUntilMs', 'drained', 'restart')
if n[1] ~= ARGV[2] then return 'stale-node' end
if n[2] == nonce then return 'claimed' end
local beat = tonumber(redis.call('ZSCORE', K.nodes, ARGV[1]) or '0')
if n[3] ~= 'ready' or n[5] or n[6] or tonumber(n[4] or '0') > now or now - beat >= L.aliveMs then return 'not-ready' end
if n[2] then return 'occupied' end
local task = K.task .. id
local t = redis.call('HMGET', task, 'state', 'tenant', 'timeoutMs', 'deadlineMs', 'nonces')
local nonces = t[5] or ' '
if t[1] ~= 'queued' or string.find(nonces, ' ' .. nonce .. ' ', 1, true) then return 'not-queued' end
if at_cap(t[2]) then return 'at-cap' end
if not leave_queue(id) then return 'not-queued' end

local tenant = t[2]
local start = tonumber(redis.call('HGET', K.fairness, 's:' .. tenant) or '0')
local v = tonumber(redis.call('HGET', K.fairness, 'v') or '0')
if start < v then move_place(tenant, v - start) end
charge(tenant, tonumber(ARGV[5]))
redis.call('HDEL', K.fairness, 'o:' .. tenant)
if #ARGV == 6 then redis.call('HSET', K.fairness, 'v', tostring(math.max(v, start))) end
for i = 7, #ARGV do redis.call('HINCRBY', K.fairness, 'o:' .. ARGV[i], 1) end

redis.call('HINCRBY', K.running, tenant, 1)
redis.call('HINCRBY', task, 'attempt', 1)
redis.call('HSET', task, 'state', 'leased', 'token', nonce, 'nonces', string.sub(' ' .. nonce .. nonces, 1, 500), 'node', ARGV[1], 'claimedMs', now, 'charged', ARGV[5], 'why', ARGV[6])
redis.call('HSETNX', task, 'firstClaimedMs', now)
redis.call('HDEL', task, 'stay')
redis.call('HSET', node, 'slotTask', id, 'slotToken', nonce)
redis.call('ZADD', K.slots, now + L.leaseMs, ARGV[1])
local due = now + tonumber(t[3]) + L.leaseMs
local deadline = tonumber(t[4] or '0')
if deadline > 0 and deadline < due then due = deadline end
redis.call('ZADD', K.deadlines, due, id)
redis.call('HSET', task, 'attemptDueMs', due)
record(id, 'task.dispatched')
redis.call('PUBLISH', K.wake .. ARGV[1], nonce)
return 'claimed'
