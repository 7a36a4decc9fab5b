-- An attempt ended without a result. A final class fails the task; the others send it back within their budget.
-- ARGV 1 task, 2 token, 3 class or 'final', 4 problem (JSON) of the failure, or of the used-up budget, 5 GPU seconds to charge,
--      6 budget, 7 back-off (ms), 8 avoid this node (1 or 0), 9 ComfyUI's log of the attempt,
--      10 run it here again (1 or 0), 11 only nodes with more VRAM than so many bytes will do, or ''
-- Returns {'failed' | 'retried', for how long the node is quarantined (ms)} | {'stale'} | {'terminal'}
-- Replay-safe by the token: a retry takes it away.
local id = ARGV[1]
local t = redis.call('HMGET', K.task .. id, 'state', 'token', 'node', 'used:comfyui-died')
if t[2] ~= ARGV[2] then return { 'stale' } end
if t[1] == 'failed' then return { 'failed', 0 } end
if TERMINAL[t[1]] then return { 'terminal' } end
leave_slot(id, tonumber(ARGV[5]))
keep_log(id, ARGV[9])
if ARGV[3] == 'final' then
  fail_with(id, ARGV[4])
  return { 'failed', 0 }
end
-- The first ComfyUI that dies under a task is laid at its node's door, the next at the task's.
local is_fault = ARGV[3] == 'node' or (ARGV[3] == 'comfyui-died' and not t[4])
local pause = is_fault and node_fault(t[3]) or 0
if ARGV[10] == '1' then redis.call('HSET', K.task .. id, 'stay', t[3]) end
if ARGV[11] ~= '' then redis.call('HSET', K.task .. id, 'vramAbove', ARGV[11]) end
return { retry(id, ARGV[3], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[4], ARGV[8] == '1'), pause }
