-- allow-oom
-- ARGV: limit. Ends cancelling jobs that have no running shard.
local ids = call('ZRANGE', index_key('*', 'status:cancelling'), 0, ARGV[1] - 1)
local settled = {}
for _, id in ipairs(ids) do
  local job = read_job(id)
  if not job then
    call('ZREM', index_key('*', 'status:cancelling'), id)
  else
    settle(job)
    if job.status == 'cancelled' then settled[#settled + 1] = id end
  end
end
return settled
