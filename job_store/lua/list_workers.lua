-- no-writes
-- Descriptions of the workers whose last heartbeat still counts, with its time.
local found = {}
for _, name in ipairs(call('ZRANGE', 'pp:workers', 0, -1)) do
  local description = call('GET', 'pp:worker:' .. name)
  if description then found[#found + 1] = {name, description, call('ZSCORE', 'pp:workers', name)} end
end
return found
