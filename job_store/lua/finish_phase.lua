-- deny-oom
-- ARGV: job, phase, fence, carry. Ends a phase's assembly: its output becomes the input of the next phase's shards.
local id, slot = ARGV[1], ARGV[2] .. '/' .. ASSEMBLE
local job, refused = handed_in(id, slot, ARGV[3])
if not job then return refused end
call('SET', job_key(id) .. ':carry', ARGV[4])
note_blob(id, ARGV[4])
if call('HGET', job_key(id), 'blobs') then discard('work/' .. id .. '/' .. job.phase) end
call('UNLINK', job_key(id) .. ':out:' .. job.phase)
call('HINCRBY', job_key(id), 'phase', 1)
call('HSET', job_key(id), 'next', 0)
call('HINCRBY', 'pp:claimable', job.model, job.shards)
enter_ready(job)
return {'stored', nudges(job.model)}
