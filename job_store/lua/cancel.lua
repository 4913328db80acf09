-- allow-oom
-- ARGV: job, owner or ''. Ends a queued job at once, and a running one when its shards have stopped.
local job = visible(ARGV[1], ARGV[2])
if not job then return 'unknown' end
cancel(job)
return job.status
