-- Makes a secret the one that a tenant's webhooks are signed with; former ones go on for the overlap, four at most.
-- ARGV 1 tenant, 2 secret, 3 overlap (ms), 4 '1' to leave a tenant that has a secret as it is
-- Returns the secrets (JSON), newest first; all but the first with untilMs
-- Replay-safe by the secret.
local key = K.webhookSecrets .. ARGV[1]
local known = redis.call('GET', key)
if known and ARGV[4] == '1' then return known end
local kept = { { secret = ARGV[2] } }
for _, one in ipairs(cjson.decode(known or '[]')) do
  local ends = one.untilMs or now + tonumber(ARGV[3])
  if one.secret ~= ARGV[2] and ends > now and #kept < 5 then kept[#kept + 1] = { secret = one.secret, untilMs = ends } end
end
local text = cjson.encode(kept)
redis.call('SET', key, text)
return text
