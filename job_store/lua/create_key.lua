-- deny-oom
-- ARGV: id, secret digest, name, description JSON, expiry ms or ''.
call('HSET', 'pp:key:' .. ARGV[1], 'id', ARGV[1], 'sha256', ARGV[2], 'name', ARGV[3], 'description', ARGV[4], 'created', NOW)
if ARGV[5] ~= '' then call('HSET', 'pp:key:' .. ARGV[1], 'expires', ARGV[5]) end
call('SET', 'pp:key_of:' .. ARGV[2], ARGV[1])
call('ZADD', 'pp:keys', NOW, ARGV[1])
return call('HGETALL', 'pp:key:' .. ARGV[1])
