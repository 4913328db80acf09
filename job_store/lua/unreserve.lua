-- allow-oom
-- ARGV: owner, idempotency key. Forgets a key whose request was refused.
local key = 'pp:idempotency:' .. ARGV[1] .. '|' .. ARGV[2]
if call('HEXISTS', key, 'jobs') == 0 then call('DEL', key) end
return 1
