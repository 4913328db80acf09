-- allow-oom
-- ARGV: worker.
call('DEL', 'pp:worker:' .. ARGV[1])
return call('ZREM', 'pp:workers', ARGV[1])
