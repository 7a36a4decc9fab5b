-- Counts one request of a tenant against requestsPerMinute: a minute's worth may come at once and is given back evenly (GCRA).
-- ARGV 1 tenant
-- Returns {} where no such limit holds | {1 allowed or 0 not, limit, left, ms until all are given back, or until the next is allowed}
-- A request whose answer was lost counts twice: a limiter may err on that side.
local limit = tonumber(redis.call('HGET', K.tenant .. ARGV[1], 'requestsPerMinute') or '')
if not limit then return {} end
local key, interval, minute = K.rate .. ARGV[1], 60000 / limit, 60000
local ahead = math.max(0, tonumber(redis.call('GET', key) or '0') - now) + interval
if ahead > minute + 1 then return { 0, limit, 0, math.ceil(ahead - minute) } end
redis.call('SET', key, string.format('%.3f', now + ahead), 'PX', math.ceil(ahead))
return { 1, limit, math.max(0, math.floor((minute - ahead) / interval + 0.001)), math.ceil(ahead) }
