-- allow-oom
-- ARGV: id or name. Ids of the keys that match; a single match is revoked. An id may match an expired key too.
local named = {}
for _, id in ipairs(call('ZRANGE', 'pp:keys', 0, -1)) do
  local key = call('HMGET', 'pp:key:' .. id, 'name', 'revoked', 'expires')
  if id == ARGV[1] and not key[2] then
    named = {id}
    break
  end
  local is_valid = not key[2] and not (key[3] and tonumber(key[3]) <= NOW)
  if key[1] == ARGV[1] and is_valid then named[#named + 1] = id end
end
if #named == 1 then call('HSET', 'pp:key:' .. named[1], 'revoked', NOW) end
return named
