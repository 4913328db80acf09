-- no-writes
-- ARGV: job, owner or '', bytes. The record, its position in the queue, the time, and a result of at most so many bytes.
local job = visible(ARGV[1], ARGV[2])
if not job then return nil end
local described = describe(job)
for _, part in ipairs(result_of(job, tonumber(ARGV[3])) or {}) do described[#described + 1] = part end
return described
