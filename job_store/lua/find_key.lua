-- allow-oom
-- ARGV: secret digest. Records the use, at most once a minute.
local id = call('GET', 'pp:key_of:' .. ARGV[1])
if not id then return false end
local last = tonumber(call('HGET', 'pp:key:' .. id, 'last_used') or 0)
if NOW - last >= 60000 then call('HSET', 'pp:key:' .. id, 'last_used', NOW) end
return call('HGETALL', 'pp:key:' .. id)
