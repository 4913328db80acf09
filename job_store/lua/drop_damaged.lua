-- allow-oom
-- ARGV: job. Erases its damaged result from all jobs that share it; no later job is answered from it.
local result = call('HGET', job_key(ARGV[1]), 'result')
return result and #expire_result(result) or 0
