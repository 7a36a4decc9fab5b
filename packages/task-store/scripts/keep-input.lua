-- Keeps an uploaded file, or keeps a known one longer. The newest upload of the same bytes is the one that counts; the one before it is
-- removed a while later, when nobody reads it any more.
-- ARGV 1 tenant, 2 digest, 3 keep at least so long (ms), 4 path or '' (only keep a known one longer), 5 bytes, 6 media type,
--      7 how long a replaced file may still be read (ms)
-- Returns {path, bytes, media type, expires (ms)} | {} when it is not known | {'over-quota', bytes that the tenant keeps, most (bytes)}
-- Replay-safe by the path: the same one again changes nothing but the expiry, which only grows.
local member = ARGV[1] .. ':' .. ARGV[2]
local key = K.input .. member
local path = redis.call('HGET', key, 'path')
if not path and ARGV[4] == '' then return {} end
if not path then
  local most = tonumber(redis.call('HGET', K.tenant .. ARGV[1], 'inputBytes') or L.maxInputBytes)
  local kept = tonumber(redis.call('HGET', K.inputBytes, ARGV[1]) or '0')
  if kept + tonumber(ARGV[5]) > most then return { 'over-quota', tostring(kept), tostring(most) } end
  redis.call('HINCRBY', K.inputBytes, ARGV[1], ARGV[5])
end
if ARGV[4] ~= '' and path ~= ARGV[4] then
  if path then redis.call('ZADD', K.waste, now + tonumber(ARGV[7]), path) end
  redis.call('HSET', key, 'path', ARGV[4], 'bytes', ARGV[5], 'mediaType', ARGV[6])
end
redis.call('ZADD', K.inputs, 'GT', now + tonumber(ARGV[3]), member)
local kept = redis.call('HMGET', key, 'path', 'bytes', 'mediaType')
return { kept[1], kept[2], kept[3], redis.call('ZSCORE', K.inputs, member) }
