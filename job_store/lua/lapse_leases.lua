-- allow-oom
-- ARGV: limit. Takes shards from silent workers: queues them again, or fails the job.
-- A lease that ends more than a minute ahead is from before the clock stepped back; it lapses within a minute.
local LONGEST_MS = 60000
for _, member in ipairs(call('ZRANGEBYSCORE', 'pp:leases', '(' .. NOW + LONGEST_MS, '+inf')) do
  call('ZADD', 'pp:leases', NOW + LONGEST_MS, member)
end
local lapsed = call('ZRANGEBYSCORE', 'pp:leases', '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(lapsed) do
  local id, slot = string.match(member, '^(.*)|(.*)$')
  local job = read_job(id)
  if not job then
    call('ZREM', 'pp:leases', member)
  elseif call('ZSCORE', 'pp:leases', member) then  -- else an earlier lease of this round has ended the job
    lose(job, slot, string.match(slot, '/(.*)$'))
  end
end
return lapsed
