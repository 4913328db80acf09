-- allow-oom
-- ARGV: job, phase, shard, fence. Hands a shard back: the attempt does not count, and the shard is next in its job.
local id, shard = ARGV[1], ARGV[3]
local slot, job = ARGV[2] .. '/' .. shard, read_job(id)
if not job or not holds(id, slot, ARGV[4]) then return {'lost'} end
free(job, slot)
call('HINCRBY', job_key(id) .. ':shards', 'attempt:' .. slot, -1)
if job.status == 'cancelling' then
  settle(job)
  return {'cancelled'}
end
requeue(job, shard, 'LPUSH')
return {'again', nudges(job.model)}
