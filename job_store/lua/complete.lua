-- deny-oom
-- ARGV: job, phase, fence, head, arrays. Ends the last assembly; the job succeeds.
local id, slot = ARGV[1], ARGV[2] .. '/' .. ASSEMBLE
local job, refused = handed_in(id, slot, ARGV[3])
if not job then return refused end
succeed(job, ARGV[4], ARGV[5])
return {'stored', nudges(job.model)}
