-- allow-oom
-- ARGV: limit, lease ms, most per owner, then owners and how many deliveries of each are in progress.
-- Takes due deliveries for a lease; the order of owners is random each time.
local limit, lease_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local under_way, found = {}, {}
for i = 4, #ARGV, 2 do under_way[ARGV[i]] = tonumber(ARGV[i + 1]) end

local function take(owner, id)
  schedule_hook(id, owner, NOW + lease_ms)
  local attempt = call('HINCRBY', 'pp:hook:' .. id, 'attempt', 1)
  local hook = call('HMGET', 'pp:hook:' .. id, 'url', 'created')
  found[#found + 1] = {id, hook[1], attempt, hook[2], owner}
end

call('ZCARD', 'pp:hooks')  -- fails before anything is taken if the key has another type
for _, owner in ipairs(call('SRANDMEMBER', 'pp:hooks:owners', 100)) do
  local room = math.min(limit - #found, most - (under_way[owner] or 0))
  if room > 0 then
    local due = call('ZRANGEBYSCORE', 'pp:hooks:of:' .. owner, '-inf', NOW, 'LIMIT', 0, room)
    for _, id in ipairs(due) do take(owner, id) end
  end
end
return found
