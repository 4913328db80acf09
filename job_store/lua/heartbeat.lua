-- allow-oom
-- ARGV: job, phase, shard, fence, lease ms. Extends the lease; says whether to continue.
local slot = ARGV[2] .. '/' .. ARGV[3]
if not holds(ARGV[1], slot, ARGV[4]) then return 'lost' end
if call('HGET', job_key(ARGV[1]), 'status') == 'cancelling' then return 'cancelled' end
call('ZADD', 'pp:leases', 'XX', NOW + tonumber(ARGV[5]), lease_member(ARGV[1], slot))
return 'held'
