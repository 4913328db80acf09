-- allow-oom
-- ARGV: worker, ms to live. Keeps a worker's last description while its child loads a model or is replaced.
if call('PEXPIRE', 'pp:worker:' .. ARGV[1], ARGV[2]) == 0 then return 0 end
call('ZADD', 'pp:workers', NOW, ARGV[1])
return 1
