-- no-writes
-- ARGV: jobs. Those that are not on record.
local missing = {}
for _, id in ipairs(ARGV) do
  if call('EXISTS', job_key(id)) == 0 then missing[#missing + 1] = id end
end
return missing
