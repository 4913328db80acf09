-- deny-oom
-- ARGV: job, phase, fence, head, arrays. Ends the last assembly; the job succeeds.
local id, slot = ARGV[1], ARGV[2] .. '/' .. ASSEMBLE
local job = read_job(id)
if not job or not holds(id, slot, ARGV[3]) then return {'lost'} end
charge(job, slot)
free(job, slot)
if job.status == 'cancelling' then
  settle(job)
  return {'cancelled'}
end
succeed(job, ARGV[4], ARGV[5])
return {'stored', nudges(job.model)}
