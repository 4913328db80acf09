-- allow-oom
-- ARGV: limit, ms since the last sweep by the reaper's clock, or '' if unknown.
-- Erases results past their retention, and later their records.
local function grow(elapsed)
  local seen, before = call('HGET', 'pp:age', 'seen'), age()
  if seen then
    before = tonumber(call('HGET', 'pp:age', 'at'))
    before = before + math.min(math.max(NOW - seen, 0), elapsed * 1.5 + (elapsed > 0 and 1000 or 0))
  end
  call('HSET', 'pp:age', 'seen', NOW, 'at', string.format('%.0f', before), 'lag', string.format('%.0f', NOW - before))
end

if ARGV[2] ~= '' then grow(tonumber(ARGV[2])) end
local old = call('ZRANGEBYSCORE', 'pp:retention', '-inf', string.format('%.0f', age()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(old) do
  local kept = call('HMGET', job_key(id), 'result_expired', 'finished', 'retention', 'record_retention')
  local record_ms = kept[2] and kept[4] - kept[3]
  if not kept[2] then
    call('ZREM', 'pp:retention', id)
  elseif kept[1] or record_ms <= 0 then
    erase(id)
  else
    drop_result(id)
    call('HSET', job_key(id), 'result_expired', 1)
    call('HDEL', job_key(id), 'result')
    call('ZADD', 'pp:retention', age() + record_ms, id)
  end
end
return old
