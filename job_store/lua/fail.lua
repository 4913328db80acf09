-- allow-oom
-- ARGV: job, phase, shard, fence, code, detail, retry ('1' or ''). An error in a shard fails the job, or queues the shard again.
local id, shard = ARGV[1], ARGV[3]
local slot = ARGV[2] .. '/' .. shard
local job, refused = handed_in(id, slot, ARGV[4])
if not job then return refused end
if ARGV[7] == '1' and attempts_of(id, slot) < MAX_ATTEMPTS then
  requeue(job, shard)
  return {'again', nudges(job.model)}
end
end_job(job, 'failed', ARGV[5], ARGV[6])
return {'failed', nudges(job.model)}
