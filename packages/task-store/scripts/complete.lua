-- An attempt has its result: the task succeeds, the slot is emptied, the durations are learned.
-- ARGV 1 task, 2 token, 3 manifest (JSON), 4 number of outputs in it, 5 GPU seconds, 6 load seconds, 7 execution seconds,
--      8 whether models were loaded (1 or 0), 9 ComfyUI's log of the attempt
-- Returns 'ok' | 'stale' | 'terminal'
-- Replay-safe by the token.
local id, key = ARGV[1], K.task .. ARGV[1]
local t = redis.call('HMGET', key, 'state', 'token', 'need', 'node', 'work')
if t[2] ~= ARGV[2] then return 'stale' end
if t[1] == 'succeeded' then return 'ok' end
if TERMINAL[t[1]] then return 'terminal' end

-- An exponential mean forgets old hardware and old models after about ten runs; one that is far off counts as three times as much, or a third.
local function learn(name, seconds)
  local stats = K.stats .. t[3]
  for _, field_name in ipairs({ name, name .. ':' .. t[4] }) do
    local mean = tonumber(redis.call('HGET', stats, field_name) or '') or seconds
    local near = mean > 0 and math.max(mean / 3, math.min(mean * 3, seconds)) or seconds
    redis.call('HSET', stats, field_name, tostring(mean + 0.3 * (near - mean)))
  end
  redis.call('PEXPIRE', stats, L.keepNeedMs)
end
learn('execution', tonumber(ARGV[7]) / math.max(0.01, tonumber(t[5])))
if ARGV[8] == '1' then learn('load', tonumber(ARGV[6])) end

leave_slot(id, tonumber(ARGV[5]))
node_success(t[4])
show_outputs(id, ARGV[3], tonumber(ARGV[4]))
redis.call('SET', K.result .. id, ARGV[3])
keep_log(id, ARGV[9])
redis.call('HSET', key, 'loadSeconds', ARGV[6], 'executionSeconds', ARGV[7], 'loaded', ARGV[8])
finish(id, 'succeeded', 'task.succeeded')
return 'ok'
