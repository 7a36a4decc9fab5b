-- A balancer shows itself: for a while no node dispatches for itself.
-- ARGV 1 balancer
-- Returns 'ok'
redis.call('SET', K.balancer, ARGV[1], 'PX', L.blindMs)
return 'ok'
