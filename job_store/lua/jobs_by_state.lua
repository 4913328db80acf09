-- no-writes
local found = {}
for _, status in ipairs({'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled', 'expired'}) do
  found[#found + 1] = status
  found[#found + 1] = call('ZCARD', index_key('*', 'status:' .. status))
end
return found
