-- deny-oom
-- ARGV: job, phase, shard, fence, output, device, phases, flops of this shard, worker, lease ms,
-- seconds of computation.
-- Stores the shard's output and counts it; the last shard of a phase also claims the phase's assembly.
local id, shard = ARGV[1], ARGV[3]
local slot, job = ARGV[2] .. '/' .. shard, read_job(id)
if not job or not holds(id, slot, ARGV[4]) then return {'lost'} end
local key = job_key(id)
charge(job, slot)
free(job, slot)
if job.status == 'cancelling' then
  settle(job)
  return {'cancelled'}
end
call('HSET', key .. ':out:' .. job.phase, shard, ARGV[5])
note_blob(id, ARGV[5])
call('SADD', key .. ':devices', ARGV[6])
call('HSETNX', key, 'computing', NOW - math.floor(ARGV[11] * 1000))
call('HSET', key, 'phases', ARGV[7], 'progressed', NOW)
local done = call('HINCRBY', key, 'done', 1)
event(id, 'progress', {done = done, total = job.shards * ARGV[7]})
count('shards_done')
if tonumber(ARGV[8]) > 0 then
  -- Sums of work and time, halved with every minute of work; tiny shards, which are mostly overhead, weigh little.
  local rates, device, flops, seconds = 'pp:rates:' .. job.model, ARGV[6], tonumber(ARGV[8]), tonumber(ARGV[11])
  local known, kept = call('HMGET', rates, 'flops:' .. device, 'seconds:' .. device), 2 ^ (-seconds / 60)
  call('HSET', rates, 'flops:' .. device, (known[1] or 0) * kept + flops,
    'seconds:' .. device, (known[2] or 0) * kept + seconds)
end
if call('HLEN', key .. ':out:' .. job.phase) < job.shards then return {'stored', nudges(job.model)} end
local fence, attempt = take(job, ASSEMBLE, ARGV[9], tonumber(ARGV[10]))
return {'assemble', nudges(job.model), fence, attempt, call('SMEMBERS', key .. ':devices')}
