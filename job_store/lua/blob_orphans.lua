-- no-writes
-- ARGV: prefixes work/JOB or results/JOB. Those that no job on record needs.
local orphans = {}
for _, prefix in ipairs(ARGV) do
  local kind, id = prefix:match('^(%a+)/(.+)$')
  local job = kind == 'work' and read_job(id)
  local is_needed = job and not TERMINAL[job.status] or kind == 'results' and call('EXISTS', 'pp:result:' .. id) == 1
  if not is_needed then orphans[#orphans + 1] = prefix end
end
return orphans
