-- no-writes
-- ARGV: job, owner or ''. Head and arrays, if they exist.
local job = visible(ARGV[1], ARGV[2])
if not job then return {'unknown'} end
local kept = call('HMGET', job_key(job.id), 'result', 'result_expired')
if job.status ~= 'succeeded' or kept[2] then return {'none'} end
local result = call('HMGET', 'pp:result:' .. kept[1], 'head', 'arrays', 'sealed')
if not result[1] then return {'none'} end
return {'found', result[1], result[2], result[3] and 1 or 0}
