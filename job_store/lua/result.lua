-- no-writes
-- ARGV: job, owner or ''. Head and arrays, if they exist.
local job = visible(ARGV[1], ARGV[2])
if not job then return {'unknown'} end
local result = result_of(job)
return result and {'found', unpack(result)} or {'none'}
