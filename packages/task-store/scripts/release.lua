-- Empties a node's slot once the GPU is free: after a cancel or a stale completion. A task that still runs under the token goes back.
-- ARGV 1 node, 2 token
-- Returns 'released' | 'not-held'
local n = redis.call('HMGET', K.node .. ARGV[1], 'slotTask', 'slotToken')
if n[2] ~= ARGV[2] then return 'not-held' end
local t = redis.call('HMGET', K.task .. n[1], 'state', 'token')
if t[2] == ARGV[2] and (t[1] == 'leased' or t[1] == 'running') then
  leave_slot(n[1], 0)
  retry(n[1], 'hand-back', math.huge, 0, '', false)
else
  empty_slot(ARGV[1])
end
return 'released'
