-- Lifts the quarantine of a workflow.
-- ARGV 1 tenant, 2 fingerprint
-- Returns 'pardoned' | 'not-found'
local name = ARGV[1] .. ':' .. ARGV[2]
redis.call('ZREM', K.poisons, name)
if redis.call('DEL', K.poison .. name) == 0 then return 'not-found' end
return 'pardoned'
