-- Makes a comfy-service known under an epoch of its own. The slot of its former life ends at once, unless it adopts the attempt in it.
-- A second live comfy-service of one id is refused; a newcomer at the same address proves that the old one is gone.
-- ARGV 1 node, 2 epoch, 3 url, 4 labels (JSON), 5 catalog digest, 6 catalog (JSON), 7 report (JSON), 8 token to adopt or '', 9 intent,
--      10 digest of its input files, 11 input files (JSON), 12 its hardware, whose paces are forgotten when it is another
-- Returns {'registered'} | {'adopted'} | {'refused', url of the other}
local key = K.node .. ARGV[1]
local n = redis.call('HMGET', key, 'epoch', 'url', 'slotTask', 'slotToken', 'hardware')
local seen = tonumber(redis.call('ZSCORE', K.nodes, ARGV[1]) or '0')
if n[1] and n[1] ~= ARGV[2] and n[2] ~= ARGV[3] and now - seen < L.aliveMs then return { 'refused', n[2] } end
local adopted = false
if n[4] then
  local t = redis.call('HMGET', K.task .. n[3], 'state', 'token')
  adopted = ARGV[8] == n[4] and t[2] == n[4] and (t[1] == 'leased' or t[1] == 'running')
  if adopted then
    redis.call('ZADD', K.slots, now + L.leaseMs, ARGV[1])
  elseif n[1] ~= ARGV[2] then
    recover(ARGV[1])
  end
end
redis.call('SET', K.catalog .. ARGV[5], ARGV[6], 'PX', L.keepNodeMs * 2)
redis.call('SET', K.files .. ARGV[10], ARGV[11], 'PX', L.keepNodeMs * 2)
if n[5] ~= ARGV[12] then redis.call('HDEL', key, 'executionPace', 'loadPace') end
redis.call('HSET', key, 'hardware', ARGV[12], 'files', ARGV[10], 'epoch', ARGV[2], 'url', ARGV[3], 'labels', ARGV[4], 'catalog', ARGV[5], 'report', ARGV[7], 'intent', ARGV[9])
redis.call('ZADD', K.nodes, now, ARGV[1])
redis.call('PUBLISH', K.wakeDispatch, ARGV[1])
return { adopted and 'adopted' or 'registered' }
