-- allow-oom
-- ARGV: limit, lease ms. Deliveries whose time has come, taken for a while.
local found = {}
for _, id in ipairs(call('ZRANGEBYSCORE', 'pp:hooks', '-inf', NOW, 'LIMIT', 0, ARGV[1])) do
  call('ZADD', 'pp:hooks', NOW + ARGV[2], id)
  local attempt = call('HINCRBY', 'pp:hook:' .. id, 'attempt', 1)
  local hook = call('HMGET', 'pp:hook:' .. id, 'url', 'created')
  found[#found + 1] = {id, hook[1], attempt, hook[2]}
end
return found
