-- allow-oom
-- ARGV: owner, idempotency key, ms. Keeps the mark of a key whose request is still being answered.
local key = 'pp:idempotency:' .. ARGV[1] .. '|' .. ARGV[2]
if call('HEXISTS', key, 'jobs') == 0 then call('PEXPIRE', key, ARGV[3]) end
return 1
