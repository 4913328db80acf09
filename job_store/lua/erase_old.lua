-- allow-oom
-- ARGV: limit. Erases results past their retention, and later their records.
local old = call('ZRANGEBYSCORE', 'pp:retention', '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(old) do
  local kept = call('HMGET', job_key(id), 'result_expired', 'finished', 'record_retention')
  if not kept[2] then
    call('ZREM', 'pp:retention', id)
  elseif kept[1] or kept[2] + kept[3] <= NOW then
    erase(id)
  else
    drop_result(id)
    call('HSET', job_key(id), 'result_expired', 1)
    call('HDEL', job_key(id), 'result')
    call('ZADD', 'pp:retention', kept[2] + kept[3], id)
  end
end
return old
