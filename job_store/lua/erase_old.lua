-- allow-oom
-- ARGV: limit, ms since the last sweep by the reaper's clock, or '' if unknown, bytes that all results may take (0: any).
-- Erases results past their retention, and later their records; and the oldest results above the bytes.
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

-- A record outlives its result by as long as it would have done.
local function expire_early(result)
  for _, id in ipairs(expire_result(result)) do
    local kept = call('HMGET', job_key(id), 'retention', 'record_retention')
    call('ZADD', 'pp:retention', 'XX', 'INCR', kept[2] - kept[1], id)
    old[#old + 1] = id
  end
end

local most = tonumber(ARGV[3])
while most > 0 and #old < tonumber(ARGV[1]) and tonumber(call('GET', 'pp:result_bytes') or 0) > most do
  local oldest = call('ZRANGE', 'pp:results', 0, 0)[1]
  if not oldest then break end
  expire_early(oldest)
end
return old
