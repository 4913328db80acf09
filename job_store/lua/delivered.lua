-- allow-oom
-- ARGV: job.
unschedule_hook(ARGV[1])
return call('DEL', 'pp:hook:' .. ARGV[1])
