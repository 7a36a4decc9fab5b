-- ComfyUI has the prompt: leased → running.
-- ARGV 1 task, 2 token
-- Returns 'ok' | 'stale' | 'terminal'
local t = redis.call('HMGET', K.task .. ARGV[1], 'state', 'token')
if t[2] ~= ARGV[2] then return 'stale' end
if TERMINAL[t[1]] then return 'terminal' end
if t[1] == 'running' then return 'ok' end
redis.call('HSET', K.task .. ARGV[1], 'state', 'running', 'startedMs', now)
record(ARGV[1], 'task.started')
return 'ok'
