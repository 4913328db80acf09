-- no-writes
-- ARGV: model, seconds. Measured flops per second by device, of devices measured for at least that long.
local found, known = {}, call('HGETALL', 'pp:rates:' .. ARGV[1])
local sums = {}
for i = 1, #known, 2 do sums[known[i]] = tonumber(known[i + 1]) end
for name, seconds in pairs(sums) do
  local device = string.match(name, '^seconds:(.*)$')
  if device and seconds >= tonumber(ARGV[2]) then
    found[#found + 1] = device
    found[#found + 1] = tostring(sums['flops:' .. device] / seconds)
  end
end
return found
