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
local result, cache, bytes = 'pp:result:' .. id, call('HGET', job_key(id), 'cache'), size_of(ARGV[4]) + size_of(ARGV[5])
call('HSET', result, 'head', ARGV[4], 'arrays', ARGV[5], 'bytes', bytes, 'cache', cache, 'owner', job.owner, 'sealed', 1)
if is_blob(ARGV[4]) or is_blob(ARGV[5]) then call('HSET', result, 'blobs', 1) end
call('ZADD', 'pp:results', age(), id)
call('INCRBY', 'pp:result_bytes', bytes)
occupy(job.owner, bytes)
call('SADD', result .. ':jobs', id)
call('SET', cache, id)
call('HSET', job_key(id), 'result', id, 'result_bytes', bytes)
end_job(job, 'succeeded')
return {'stored', nudges(job.model)}
