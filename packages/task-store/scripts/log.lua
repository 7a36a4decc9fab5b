-- Keeps what ComfyUI wrote into its log during an attempt, after what earlier attempts left; of too much the beginning goes.
-- ARGV 1 task, 2 token, 3 text
-- Returns 'ok' | 'stale' | 'terminal'
-- Replay-safe by the token: it is written once an attempt, and the attempt is remembered.
local id, key = ARGV[1], K.task .. ARGV[1]
local t = redis.call('HMGET', key, 'state', 'token', 'logged')
if t[2] ~= ARGV[2] then return 'stale' end
if TERMINAL[t[1]] then return 'terminal' end
if t[3] == ARGV[2] then return 'ok' end
local text = (redis.call('GET', K.logs .. id) or '') .. ARGV[3]
if #text > L.maxLogBytes then
  local from = string.find(text, '\n', #text - L.maxLogBytes, true) or #text - L.maxLogBytes
  text = string.sub(text, from + 1)
end
redis.call('SET', K.logs .. id, text)
redis.call('HSET', key, 'logged', ARGV[2])
return 'ok'
