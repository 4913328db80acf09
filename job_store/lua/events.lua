-- no-writes
-- ARGV: job, owner or '', after, limit.
local job = visible(ARGV[1], ARGV[2])
if not job then return false end
local found = call('XRANGE', job_key(job.id) .. ':events', '(' .. ARGV[3], '+', 'COUNT', ARGV[4] + 1)
return {found, TERMINAL[job.status] and 1 or 0}
