-- allow-oom
-- ARGV: job.
call('ZREM', 'pp:hooks', ARGV[1])
return call('DEL', 'pp:hook:' .. ARGV[1])
