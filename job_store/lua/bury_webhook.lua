-- allow-oom
-- ARGV: job, error. Gives up a delivery; the newest thousand stay listed.
if call('EXISTS', 'pp:hook:' .. ARGV[1]) == 0 then return 0 end
call('HSET', 'pp:hook:' .. ARGV[1], 'error', ARGV[2], 'died', NOW)
unschedule_hook(ARGV[1])
call('ZADD', 'pp:hooks:dead', NOW, ARGV[1])
for _, id in ipairs(call('ZRANGE', 'pp:hooks:dead', 0, -1001)) do call('DEL', 'pp:hook:' .. id) end
call('ZREMRANGEBYRANK', 'pp:hooks:dead', 0, -1001)
return 1
