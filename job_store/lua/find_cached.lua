-- no-writes
-- ARGV: owner, spec digest. The job whose result answers an equal spec.
return call('GET', 'pp:cache:' .. ARGV[1] .. '|' .. ARGV[2])
