-- allow-oom
-- ARGV: job, owner or ''. Erases a job that is not running.
local job = visible(ARGV[1], ARGV[2])
if not job then return 'unknown' end
if job.status == 'running' or job.status == 'cancelling' then return job.status end
if job.status == 'queued' then
  call('HDEL', job_key(job.id), 'webhook_url')
  end_job(job, 'cancelled')
end
erase(job.id)
call('PUBLISH', 'pp:changes', job.id)
return 'erased'
