-- allow-oom
-- ARGV: job. Erases its damaged result from all jobs that share it; no later job is answered from it.
local result = call('HGET', job_key(ARGV[1]), 'result')
if not result then return 0 end
local jobs = call('SMEMBERS', 'pp:result:' .. result .. ':jobs')
for _, id in ipairs(jobs) do
  drop_result(id)
  call('HSET', job_key(id), 'result_expired', 1)
  call('HDEL', job_key(id), 'result')
end
return #jobs
