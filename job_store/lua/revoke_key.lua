-- allow-oom
-- ARGV: id or name. Revokes every key that it names; says how many.
local revoked = 0
for _, id in ipairs(call('ZRANGE', 'pp:keys', 0, -1)) do
  local key = call('HMGET', 'pp:key:' .. id, 'name', 'revoked')
  if (id == ARGV[1] or key[1] == ARGV[1]) and not key[2] then
    call('HSET', 'pp:key:' .. id, 'revoked', NOW)
    revoked = revoked + 1
  end
end
return revoked
