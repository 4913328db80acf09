-- no-writes
-- ARGV: scope, limit, after, a part of the name (casefolded; '' for any), then index kinds that must all match.
-- Newest first, from the smallest index. Skips an id whose record is gone.
local scope, limit, after, part_of_name = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local chosen, others, smallest = 'all', {}, nil
for i = 5, #ARGV do
  local size = call('ZCARD', index_key(scope, ARGV[i]))
  others[#others + 1] = ARGV[i]
  if not smallest or size < smallest then chosen, smallest = ARGV[i], size end
end

local function fits(id)
  for _, kind in ipairs(others) do
    if kind ~= chosen and not call('ZSCORE', index_key(scope, kind), id) then return false end
  end
  return part_of_name == '' or string.find(call('HGET', job_key(id), 'name') or '', part_of_name, 1, true)
end

local found, from = {}, after == '' and '+' or ('(' .. after)
while #found <= limit do
  local ids = call('ZRANGE', index_key(scope, chosen), from, '-', 'BYLEX', 'REV', 'LIMIT', 0, 200)
  if #ids == 0 then break end
  for _, id in ipairs(ids) do
    local job = #found <= limit and fits(id) and read_job(id)
    if job then found[#found + 1] = describe(job) end
  end
  from = '(' .. ids[#ids]
end
return found
