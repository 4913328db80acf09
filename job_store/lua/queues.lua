-- no-writes
-- Per model: queued jobs, claimable shards, and how long the oldest queued job has waited in ms.
local found = {}
for _, model in ipairs(call('SMEMBERS', 'pp:models')) do
  local oldest = call('ZRANGE', 'pp:waiting:' .. model, 0, 0, 'WITHSCORES')[2]
  found[#found + 1] = {model, call('ZCARD', 'pp:waiting:' .. model), tonumber(call('HGET', 'pp:claimable', model) or 0),
    oldest and math.max(0, NOW - oldest) or 0}
end
return found
