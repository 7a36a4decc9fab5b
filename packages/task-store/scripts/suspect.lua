-- The process of a node is known to be gone: its slot ends now, and it counts as silent.
-- ARGV 1 node, 2 epoch
-- Returns {'recovered', task} | {'ended'} | {'stale-node'}
if redis.call('HGET', K.node .. ARGV[1], 'epoch') ~= ARGV[2] then return { 'stale-node' } end
redis.call('ZADD', K.nodes, 'LT', now - L.aliveMs, ARGV[1])
if not redis.call('ZSCORE', K.slots, ARGV[1]) then return { 'ended' } end
local id = recover(ARGV[1])
if id then return { 'recovered', id } end
return { 'ended' }
