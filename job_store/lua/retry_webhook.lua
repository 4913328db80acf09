-- allow-oom
-- ARGV: job, delay ms, error, '1' if nothing was sent.
local key = 'pp:hook:' .. ARGV[1]
local owner = call('HGET', key, 'owner')
if not owner then return 0 end
if ARGV[4] == '1' then call('HINCRBY', key, 'attempt', -1) else call('HSET', key, 'error', ARGV[3]) end
schedule_hook(ARGV[1], owner, NOW + ARGV[2])
return 1
