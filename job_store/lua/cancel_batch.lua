-- allow-oom
-- ARGV: batch, owner or ''.
local batch = read_batch(ARGV[1], ARGV[2])
if not batch then return nil end
for _, id in ipairs(cjson.decode(batch[3])) do
  local job = read_job(id)
  if job then cancel(job) end
end
return describe_batch(batch)
