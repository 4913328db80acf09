-- allow-oom
-- ARGV: job, phase, shard, fence, code, detail, retry ('1' or ''). An error in a shard fails the job, or queues the shard again.
local id, shard = ARGV[1], ARGV[3]
local slot, job = ARGV[2] .. '/' .. shard, read_job(id)
if not job or not holds(id, slot, ARGV[4]) then return {'lost'} end
charge(job, slot)
local attempt = attempts_of(id, slot)
free(job, slot)
if job.status == 'cancelling' then
  settle(job)
  return {'cancelled'}
end
if ARGV[7] == '1' and attempt < MAX_ATTEMPTS then
  requeue(job, shard)
  return {'again', nudges(job.model)}
end
end_job(job, 'failed', ARGV[5], ARGV[6])
return {'failed', nudges(job.model)}
