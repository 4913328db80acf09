-- no-writes
-- ARGV: limit. Newest first.
local found = {}
for _, id in ipairs(call('ZRANGE', 'pp:hooks:dead', 0, ARGV[1] - 1, 'REV')) do
  local hook = call('HMGET', 'pp:hook:' .. id, 'url', 'attempt', 'error', 'died')
  found[#found + 1] = {id, hook[1], hook[2], hook[3], hook[4]}
end
return found
