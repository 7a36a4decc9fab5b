-- Takes a turn at work that one process does for all.
-- ARGV 1 work, 2 until somebody else may (ms)
-- Returns 1 taken | 0 not
-- A turn whose answer was lost is taken by nobody: the next one comes.
return redis.call('SET', K.turn .. ARGV[1], 1, 'PX', ARGV[2], 'NX') and 1 or 0
