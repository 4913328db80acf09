-- allow-oom
-- ARGV: candidate, ms. Becomes or stays the reaper's leader.
local holder = call('GET', 'pp:reaper')
if holder and holder ~= ARGV[1] then return 0 end
call('SET', 'pp:reaper', ARGV[1], 'PX', ARGV[2])
return 1
