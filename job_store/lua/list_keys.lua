-- no-writes
local found = {}
for i, id in ipairs(call('ZRANGE', 'pp:keys', 0, -1)) do found[i] = call('HGETALL', 'pp:key:' .. id) end
return found
