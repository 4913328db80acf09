-- allow-oom
-- ARGV: worker, its description as JSON, ms to live.
call('SET', 'pp:worker:' .. ARGV[1], ARGV[2], 'PX', ARGV[3])
call('ZADD', 'pp:workers', NOW, ARGV[1])
return NOW
