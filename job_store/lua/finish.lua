-- deny-oom
-- ARGV: job, phase, shard, fence, output, device, phases, flops of this shard, worker, lease ms,
-- seconds of computation.
-- Stores the shard's output and counts it; the last shard of a phase also claims the phase's assembly.
local id, shard = ARGV[1], ARGV[3]
local job, refused = handed_in(id, ARGV[2] .. '/' .. shard, ARGV[4])
if not job then return refused end
local key = job_key(id)
call('HSET', key .. ':out:' .. job.phase, shard, ARGV[5])
note_blob(id, ARGV[5])
call('SADD', key .. ':devices', ARGV[6])
count_shard(job, ARGV[6], ARGV[7], ARGV[8], ARGV[11])
if call('HLEN', key .. ':out:' .. job.phase) < job.shards then return {'stored', nudges(job.model)} end
local fence, attempt = take(job, ASSEMBLE, ARGV[9], tonumber(ARGV[10]))
return {'assemble', nudges(job.model), fence, attempt, call('SMEMBERS', key .. ':devices')}
