-- allow-oom
-- ARGV: model, worker, lease ms, schema. The next shard of the model, of a job whose schema the worker knows: by priority;
-- within it by schema, owners take turns, then their jobs.
local model, worker, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function may_run(owner)
  local limit = call('HGET', 'pp:limits', owner)
  return not limit or call('SCARD', 'pp:running:' .. owner) < tonumber(limit)
end

local function start(job)
  if job.status ~= 'queued' then return end
  set_status(job, 'running', 'started', NOW)
  event(job.id, 'status', {status = 'running'})
end

local function next_shard(job)
  local shard = call('LPOP', job_key(job.id) .. ':retry')
  if not shard then
    shard = string.format('%d', job.next)
    job.next = call('HINCRBY', job_key(job.id), 'next', 1)
  end
  call('HINCRBY', 'pp:claimable', model, -1)
  return shard
end

local function end_turn(job)
  local jobs, owners = owner_ready_key(job.lane, job.priority, job.owner), ready_key(job.lane, job.priority)
  if claimable(job) > 0 then
    call('ZADD', jobs, next_turn(), job.id)
  else
    leave_ready(job)
  end
  call('ZADD', owners, 'XX', next_turn(), job.owner)
end

local function claim(job)
  start(job)
  local shard = next_shard(job)
  local fence, attempt = take(job, shard, worker, lease_ms)
  end_turn(job)
  local key = job_key(job.id)
  local facts = call('HMGET', key, 'spec', 'facts', 'trace')
  local input = call('HGET', key .. ':inputs', shard)
  return {job.id, job.phase, shard, fence, attempt, job.shards, facts[1], facts[2], facts[3], input or '',
    call('GET', key .. ':carry') or '', call('SMEMBERS', key .. ':devices'), nudges(model), job.schema}
end

local function first_job(lane, priority, owner)
  local jobs = owner_ready_key(lane, priority, owner)
  while true do
    local id = call('ZRANGE', jobs, 0, 0)[1]
    if not id then
      call('ZREM', ready_key(lane, priority), owner)
      return nil
    end
    local job = read_job(id)
    local deadline = job and call('HGET', job_key(id), 'deadline')
    if not job or claimable(job) <= 0 then
      call('ZREM', jobs, id)
    elseif deadline and tonumber(deadline) <= NOW then
      end_job(job, 'expired')
    else
      return job
    end
  end
end

for _, priority in ipairs(PRIORITIES) do
  for schema = 1, tonumber(ARGV[4]) do
    local lane = lane_of(model, schema)
    for _, owner in ipairs(call('ZRANGE', ready_key(lane, priority), 0, -1)) do
      local job = may_run(owner) and first_job(lane, priority, owner)
      if job then return claim(job) end
    end
  end
end
return false
