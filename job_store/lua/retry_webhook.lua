-- allow-oom
-- ARGV: job, delay ms, error.
if call('EXISTS', 'pp:hook:' .. ARGV[1]) == 0 then return 0 end
call('HSET', 'pp:hook:' .. ARGV[1], 'error', ARGV[3])
return call('ZADD', 'pp:hooks', 'XX', NOW + ARGV[2], ARGV[1])
