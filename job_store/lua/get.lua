-- no-writes
-- ARGV: job, owner or ''. The record, its position in the queue, and the time.
local job = visible(ARGV[1], ARGV[2])
return job and describe(job)
