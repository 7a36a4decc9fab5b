-- Outputs were stored: the manifest so far becomes visible.
-- ARGV 1 task, 2 token, 3 manifest (JSON), 4 number of outputs in it
-- Returns 'ok' | 'stale' | 'terminal'
-- Replay-safe by the number of outputs.
local t = redis.call('HMGET', K.task .. ARGV[1], 'state', 'token')
if t[2] ~= ARGV[2] then return 'stale' end
if TERMINAL[t[1]] then return 'terminal' end
show_outputs(ARGV[1], ARGV[3], tonumber(ARGV[4]))
return 'ok'
