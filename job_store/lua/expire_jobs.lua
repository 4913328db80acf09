-- allow-oom
-- ARGV: limit. Ends jobs past their deadline.
local late = call('ZRANGEBYSCORE', 'pp:deadlines', '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(late) do
  local job = read_job(id)
  if job then end_job(job, 'expired') else call('ZREM', 'pp:deadlines', id) end
end
return late
