-- no-writes
local valid = 0
for _, id in ipairs(call('ZRANGE', 'pp:keys', 0, -1)) do
  local key = call('HMGET', 'pp:key:' .. id, 'revoked', 'expires')
  if not key[1] and not (key[2] and tonumber(key[2]) <= NOW) then valid = valid + 1 end
end
return valid
