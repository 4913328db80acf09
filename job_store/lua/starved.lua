-- no-writes
-- Models with claimable shards but no message that would make a worker claim one.
local found = {}
for _, model in ipairs(call('SMEMBERS', 'pp:models')) do
  if call('LLEN', 'patch.' .. model) == 0 and nudges(model) > 0 then found[#found + 1] = model end
end
return found
