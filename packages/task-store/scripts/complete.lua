-- An attempt has its result: the task succeeds, the slot is emptied, what it took is learned of its need, its node and its graph.
-- ARGV 1 task, 2 token, 3 manifest (JSON), 4 number of outputs in it, 5 GPU seconds, 6 load seconds, 7 execution seconds,
--      8 whether models were loaded (1 or 0), 9 ComfyUI's log of the attempt
-- Returns 'ok' | 'stale' | 'terminal'
-- Replay-safe by the token.
local id, key = ARGV[1], K.task .. ARGV[1]
local t = redis.call('HMGET', key, 'state', 'token', 'need', 'node', 'work', 'fingerprint')
if t[2] ~= ARGV[2] then return 'stale' end
if t[1] == 'succeeded' then return 'ok' end
if TERMINAL[t[1]] then return 'terminal' end

-- The same learning as in domain/prediction.ts, which says why.
local function known(key, name)
  local value = tonumber(redis.call('HGET', key, name) or '')
  return value and value > 0 and value or nil
end
local function learned(key, name, value)
  redis.call('HSET', key, name, string.format('%.17g', value))
end
local function near(mean, seconds)
  return math.max(mean / 3, math.min(mean * 3, seconds))
end
local function moved(mean, seconds)
  return mean and mean + 0.3 * (near(mean, seconds) - mean) or seconds
end
-- Returns how many times as long as the fleet the node takes to do so.
local function learn(name, seconds)
  local stats, node, on_node = K.stats .. t[3], K.node .. t[4], name .. ':' .. t[4]
  local fleet, here, pace = known(stats, name), known(stats, on_node), known(node, name .. 'Pace')
  if fleet and pace then
    local step = moved(1, seconds / (fleet * pace))
    here = here or fleet * pace
    learned(stats, name, fleet * step)
    learned(node, name .. 'Pace', pace * step ^ (1 / 3))
  elseif fleet then
    pace = near(1, seconds / fleet)
    learned(node, name .. 'Pace', pace)
  else
    learned(stats, name, seconds / (pace or 1))
  end
  learned(stats, on_node, moved(here, seconds))
  redis.call('PEXPIRE', stats, L.keepNeedMs)
  return fleet and here and here / fleet or pace or 1
end
local least, seconds = 0.000001, tonumber(ARGV[7])
local pace = learn('execution', math.max(least, seconds / math.max(0.01, tonumber(t[5]))))
if ARGV[8] == '1' then learn('load', math.max(least, tonumber(ARGV[6]))) end

-- A graph is known by its fingerprint; of more than the limit those that ran longest ago are forgotten.
learned(K.graphs, t[6], moved(known(K.graphs, t[6]), math.max(least, seconds) / pace))
redis.call('ZADD', K.graphUses, now, t[6])
local over = redis.call('ZCARD', K.graphUses) - L.maxGraphs
if over > 0 then
  local forgotten = redis.call('ZRANGE', K.graphUses, 0, math.min(over, 100) - 1)
  redis.call('HDEL', K.graphs, unpack(forgotten))
  redis.call('ZREM', K.graphUses, unpack(forgotten))
end
redis.call('PEXPIRE', K.graphs, L.keepNeedMs)
redis.call('PEXPIRE', K.graphUses, L.keepNeedMs)

leave_slot(id, tonumber(ARGV[5]))
node_success(t[4])
show_outputs(id, ARGV[3], tonumber(ARGV[4]))
redis.call('SET', K.result .. id, ARGV[3])
keep_log(id, ARGV[9])
redis.call('HSET', key, 'loadSeconds', ARGV[6], 'executionSeconds', ARGV[7], 'loaded', ARGV[8])
finish(id, 'succeeded', 'task.succeeded')
return 'ok'
