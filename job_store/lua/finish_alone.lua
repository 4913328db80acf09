-- deny-oom
-- ARGV: job, phase, shard, fence, device, phases, flops of this shard, seconds of computation, head, arrays.
-- The job's only shard, in its last phase: what `finish` and `complete` do, without an assembly in between.
local id, slot = ARGV[1], ARGV[2] .. '/' .. ARGV[3]
local job, refused = handed_in(id, slot, ARGV[4])
if not job then return refused end
is_watched = false  -- its end is told in a moment
count_shard(job, ARGV[5], ARGV[6], ARGV[7], ARGV[8])
is_watched = true
succeed(job, ARGV[9], ARGV[10])
return {'stored', nudges(job.model)}
