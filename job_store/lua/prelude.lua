-- Functions that all steps share. A job is the hash pp:job:<id>; a shard is a slot "<phase>/<shard>", and shard -1 assembles its phase.
-- Invariant: a job is in its ready sets exactly while it is queued or running and has a claimable shard.
local MAX_ATTEMPTS = 3
local MAX_NUDGES = 32
local ASSEMBLE = '-1'
local PRIORITIES = {'high', 'normal', 'low'}
local TERMINAL = {succeeded = true, failed = true, cancelled = true, expired = true}
local GOES_ON = '+'  -- after the id of a job that changed and has not ended
local call = redis.call
local is_watched = true

local function now_ms()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local NOW = now_ms()

local function job_key(id) return 'pp:job:' .. id end
local function index_key(scope, kind) return 'pp:index:' .. scope .. '|' .. kind end
local function lane_of(model, schema) return schema > 1 and model .. '@' .. string.format('%d', schema) or model end
local function ready_key(lane, priority) return 'pp:ready:' .. lane .. '|' .. priority end
local function owner_ready_key(lane, priority, owner) return ready_key(lane, priority) .. '|' .. owner end
local function lease_member(id, slot) return id .. '|' .. slot end
local function attempts_of(id, slot) return tonumber(call('HGET', job_key(id) .. ':shards', 'attempt:' .. slot) or 0) end
local function count(name, by) call('HINCRBYFLOAT', 'pp:totals', name, by or 1) end

local function read_job(id)
  local names = {'status', 'owner', 'model', 'priority', 'phase', 'next', 'shards', 'schema'}
  local values = call('HMGET', job_key(id), unpack(names))
  if not values[1] then return nil end
  local job = {id = id}
  for i, name in ipairs(names) do job[name] = values[i] end
  job.next, job.shards, job.schema = tonumber(job.next), tonumber(job.shards), tonumber(job.schema or 1)
  job.lane = lane_of(job.model, job.schema)
  return job
end

local function visible(id, owner)
  local job = read_job(id)
  if job and (owner == '' or job.owner == owner) then return job end
  return nil
end

-- Bytes of an owner's jobs and results in the store. An unfinished job's result counts by its estimate.

local RECORD_BYTES = 4096  -- a job's indexes, events and keys

local function occupy(owner, bytes)
  if call('HINCRBY', 'pp:bytes', owner, bytes) <= 0 then call('HDEL', 'pp:bytes', owner) end
end

local function weigh(id, owner, bytes)
  occupy(owner, bytes - (call('HGET', job_key(id), 'weight') or 0))
  call('HSET', job_key(id), 'weight', bytes)
end

-- Contents in the blob store: the record has a reference, blob:SIZE:SHA-256:NAME. Prefixes of names that nothing needs any
-- more are garbage, which a sweeper erases.

local function is_blob(stored) return stored:sub(1, 5) == 'blob:' end
local function size_of(stored) return is_blob(stored) and tonumber(stored:match('^blob:(%d+):')) or #stored end
local function note_blob(id, stored) if is_blob(stored) then call('HSET', job_key(id), 'blobs', 1) end end
local function discard(prefix) call('ZADD', 'pp:blobs:garbage', NOW, prefix) end

-- The clock for retention. It runs like the reaper's own, so that a jump of the server's clock makes nothing old.

local function age()
  local known = call('HMGET', 'pp:age', 'lag', 'at')
  return math.max(NOW - (known[1] or 0), tonumber(known[2] or 0))
end

-- Events, versions, indexes

local function note(id, kind, data)
  call('XADD', job_key(id) .. ':events', '*', 'type', kind, 'at', NOW, 'data', cjson.encode(data))
end

local function event(id, kind, data)
  call('HINCRBY', job_key(id), 'version', 1)
  note(id, kind, data)
  if is_watched then call('PUBLISH', 'pp:changes', TERMINAL[data.status] and id or id .. GOES_ON) end
end

local function index_kinds(model, status, tags)
  local kinds = {'all', 'model:' .. model, 'status:' .. status}
  for name, value in pairs(cjson.decode(tags)) do kinds[#kinds + 1] = 'tag:' .. name .. '=' .. value end
  return kinds
end

local function drop_from_indexes(id)
  local owner, model, status, tags = unpack(call('HMGET', job_key(id), 'owner', 'model', 'status', 'tags'))
  for _, kind in ipairs(index_kinds(model, status, tags)) do
    call('ZREM', index_key(owner, kind), id)
    call('ZREM', index_key('*', kind), id)
  end
end

local function set_status(job, status, ...)  -- with more fields of the record
  for _, scope in ipairs({job.owner, '*'}) do
    call('ZREM', index_key(scope, 'status:' .. job.status), job.id)
    call('ZADD', index_key(scope, 'status:' .. status), 0, job.id)
  end
  if job.status == 'queued' then call('ZREM', 'pp:waiting:' .. job.model, job.id) end
  call('HSET', job_key(job.id), 'status', status, ...)
  job.status = status
end

-- Order of work: owners of a priority take turns, then the jobs of an owner take turns

local function next_turn() return call('INCR', 'pp:turn') end

local function claimable(job) return call('LLEN', job_key(job.id) .. ':retry') + job.shards - job.next end

local function enter_ready(job)
  local owners = ready_key(job.lane, job.priority)
  call('ZADD', owner_ready_key(job.lane, job.priority, job.owner), 'NX', next_turn(), job.id)
  call('ZADD', owners, 'NX', next_turn(), job.owner)
end

local function leave_ready(job)
  local jobs = owner_ready_key(job.lane, job.priority, job.owner)
  call('ZREM', jobs, job.id)
  if call('ZCARD', jobs) == 0 then call('ZREM', ready_key(job.lane, job.priority), job.owner) end
end

local function withdraw(job)
  if claimable(job) == 0 then return end
  call('HINCRBY', 'pp:claimable', job.model, 0 - claimable(job))
  call('DEL', job_key(job.id) .. ':retry')
  call('HSET', job_key(job.id), 'next', job.shards)
  job.next = job.shards
  leave_ready(job)
end

local function requeue(job, shard, push)
  call(push or 'RPUSH', job_key(job.id) .. ':retry', shard)
  call('HINCRBY', 'pp:claimable', job.model, 1)
  enter_ready(job)
end

local function nudges(model)
  local wanted = math.min(tonumber(call('HGET', 'pp:claimable', model) or 0), MAX_NUDGES)
  return math.max(0, wanted - call('LLEN', 'patch.' .. model))
end

local function nudge(model, message)  -- wakes workers; each message gets an id of its own
  local wanted = nudges(model)
  for _ = 1, wanted do
    call('LPUSH', 'patch.' .. model, (message:gsub(string.rep('0', 32), 'nudge-' .. next_turn())))
  end
  return wanted
end

-- Leases

local function holds(id, slot, fence)
  return call('SISMEMBER', job_key(id) .. ':running', slot) == 1
    and call('HGET', job_key(id) .. ':shards', 'fence:' .. slot) == fence
end

local function take(job, shard, worker, lease_ms)
  local slot, key = job.phase .. '/' .. shard, job_key(job.id) .. ':shards'
  local fence = call('INCR', 'pp:fence')
  local attempt = call('HINCRBY', key, 'attempt:' .. slot, 1)
  call('HSET', key, 'fence:' .. slot, fence, 'worker:' .. slot, worker, 'claimed:' .. slot, NOW)
  call('SADD', job_key(job.id) .. ':running', slot)
  call('SADD', 'pp:running:' .. job.owner, lease_member(job.id, slot))
  call('ZADD', 'pp:leases', NOW + lease_ms, lease_member(job.id, slot))
  if attempt > tonumber(call('HGET', job_key(job.id), 'attempt')) then
    call('HSET', job_key(job.id), 'attempt', attempt)
  end
  return fence, attempt
end

local function free(job, slot)
  call('SREM', job_key(job.id) .. ':running', slot)
  call('SREM', 'pp:running:' .. job.owner, lease_member(job.id, slot))
  call('ZREM', 'pp:leases', lease_member(job.id, slot))
end

local function charge(job, slot)
  local seconds = math.max(0, NOW - tonumber(call('HGET', job_key(job.id) .. ':shards', 'claimed:' .. slot))) / 1000
  local key = 'pp:compute:' .. job.owner .. '|' .. math.floor(NOW / 86400000)
  call('INCRBYFLOAT', key, seconds)
  call('EXPIRE', key, 172800)
  count('shard_seconds', seconds)
  return seconds
end

local function record_speed(model, device, flops, seconds)
  -- Sums of work and time, halved with every minute of work; tiny shards, which are mostly overhead, weigh little.
  if flops <= 0 then return end
  local rates, kept = 'pp:rates:' .. model, 2 ^ (-seconds / 60)
  local known = call('HMGET', rates, 'flops:' .. device, 'seconds:' .. device)
  call('HSET', rates, 'flops:' .. device, (known[1] or 0) * kept + flops,
    'seconds:' .. device, (known[2] or 0) * kept + seconds)
end

local function count_shard(job, device, phases, flops, seconds)
  local key = job_key(job.id)
  call('HSETNX', key, 'computing', NOW - math.floor(seconds * 1000))
  call('HSET', key, 'phases', phases, 'progressed', NOW)
  local done = call('HINCRBY', key, 'done', 1)
  event(job.id, 'progress', {done = done, total = job.shards * phases})
  count('shards_done')
  record_speed(job.model, device, tonumber(flops), tonumber(seconds))
end

-- Webhooks: one schedule for all, and one per owner, so that owners take turns

local function schedule_hook(id, owner, at)
  call('ZADD', 'pp:hooks', at, id)
  call('ZADD', 'pp:hooks:of:' .. owner, at, id)
  call('SADD', 'pp:hooks:owners', owner)
end

local function unschedule_hook(id)
  local owner = call('HGET', 'pp:hook:' .. id, 'owner')
  call('ZREM', 'pp:hooks', id)
  if not owner then return end
  call('ZREM', 'pp:hooks:of:' .. owner, id)
  if call('ZCARD', 'pp:hooks:of:' .. owner) == 0 then call('SREM', 'pp:hooks:owners', owner) end
end

-- Ends

local function drop_work(job)
  local key = job_key(job.id)
  if call('HGET', key, 'blobs') then discard('work/' .. job.id) end
  for _, slot in ipairs(call('SMEMBERS', key .. ':running')) do free(job, slot) end
  local outputs = {}
  for phase = 0, tonumber(job.phase) do outputs[phase + 1] = key .. ':out:' .. phase end
  call('UNLINK', key .. ':inputs', key .. ':retry', key .. ':shards', key .. ':running', key .. ':carry', key .. ':devices',
    unpack(outputs))
end

local function note_end(id, owner, status, retention, webhook_url)
  call('ZADD', 'pp:retention', age() + retention, id)
  if webhook_url then
    call('HSET', 'pp:hook:' .. id, 'url', webhook_url, 'attempt', 0, 'created', NOW, 'owner', owner)
    schedule_hook(id, owner, NOW)
  end
  count('jobs_' .. status)
end

local function end_job(job, status, code, detail)
  local key = job_key(job.id)
  withdraw(job)
  drop_work(job)
  set_status(job, status, 'finished', NOW)
  call('ZREM', 'pp:deadlines', job.id)
  local data = {status = status}
  if code then
    call('HSET', key, 'error_code', code, 'error_detail', detail)
    data.error = {code = code, detail = detail}
  end
  event(job.id, 'status', data)
  weigh(job.id, job.owner, RECORD_BYTES + call('HSTRLEN', key, 'spec') + call('HSTRLEN', key, 'facts'))
  note_end(job.id, job.owner, status, unpack(call('HMGET', key, 'retention', 'webhook_url')))
end

local function succeed(job, head, arrays)
  local result, cache, bytes = 'pp:result:' .. job.id, call('HGET', job_key(job.id), 'cache'), size_of(head) + size_of(arrays)
  call('HSET', result, 'head', head, 'arrays', arrays, 'bytes', bytes, 'cache', cache, 'owner', job.owner, 'sealed', 1)
  if is_blob(head) or is_blob(arrays) then call('HSET', result, 'blobs', 1) end
  call('ZADD', 'pp:results', age(), job.id)
  call('INCRBY', 'pp:result_bytes', bytes)
  occupy(job.owner, bytes)
  call('SADD', result .. ':jobs', job.id)
  call('SET', cache, job.id)
  call('HSET', job_key(job.id), 'result', job.id, 'result_bytes', bytes)
  end_job(job, 'succeeded')
end

local function settle(job)
  if job.status == 'cancelling' and call('SCARD', job_key(job.id) .. ':running') == 0 then end_job(job, 'cancelled') end
end

-- Takes back a slot whose holder has something to hand in: the job, or nil and what the holder is told instead.
local function handed_in(id, slot, fence)
  local job = read_job(id)
  if not job or not holds(id, slot, fence) then return nil, {'lost'} end
  charge(job, slot)
  free(job, slot)
  if job.status ~= 'cancelling' then return job end
  settle(job)
  return nil, {'cancelled'}
end

local function lose(job, slot, shard)
  free(job, slot)
  count('shards_lost')
  if job.status == 'cancelling' then return settle(job) end
  if attempts_of(job.id, slot) < MAX_ATTEMPTS then return requeue(job, shard) end
  local what = shard == ASSEMBLE and 'The assembly' or ('Shard ' .. shard)
  local detail = what .. ' of phase ' .. job.phase .. ' was started ' .. MAX_ATTEMPTS
    .. ' times, and each time its worker stopped answering before the end.'
  end_job(job, 'failed', 'worker_lost', detail)
end

local function drop_result(id)
  local result = call('HGET', job_key(id), 'result')
  if not result then return end
  local key = 'pp:result:' .. result
  call('SREM', key .. ':jobs', id)
  if call('SCARD', key .. ':jobs') > 0 then return end
  local kept = call('HMGET', key, 'cache', 'owner', 'bytes', 'blobs')
  if kept[1] and call('GET', kept[1]) == result then call('DEL', kept[1]) end
  if kept[2] then occupy(kept[2], 0 - kept[3]) end
  if kept[4] then discard('results/' .. result) end
  if call('ZREM', 'pp:results', result) == 1 and call('DECRBY', 'pp:result_bytes', kept[3]) <= 0 then
    call('DEL', 'pp:result_bytes')
  end
  call('UNLINK', key)
end

-- Erases a result from all jobs that share it; they stay on record.
local function expire_result(result)
  local jobs = call('SMEMBERS', 'pp:result:' .. result .. ':jobs')
  for _, id in ipairs(jobs) do
    drop_result(id)
    call('HSET', job_key(id), 'result_expired', 1)
    call('HDEL', job_key(id), 'result')
  end
  return jobs
end

local function leave_batch(id)
  local batch = call('HGET', job_key(id), 'batch')
  local key = 'pp:batch:' .. (batch or '')
  if batch and call('HEXISTS', key, 'left') == 1 and call('HINCRBY', key, 'left', -1) <= 0 then call('DEL', key) end
end

local function erase(id)
  drop_result(id)
  leave_batch(id)
  local kept = call('HMGET', job_key(id), 'owner', 'weight')
  if kept[2] then occupy(kept[1], 0 - kept[2]) end
  drop_from_indexes(id)
  call('ZREM', 'pp:retention', id)
  call('UNLINK', job_key(id), job_key(id) .. ':events')
end

-- Reading

local function jobs_ahead(job)
  local ahead = 0
  for _, priority in ipairs(PRIORITIES) do
    local owners = call('ZRANGE', ready_key(job.lane, priority), 0, -1)
    local mine = priority == job.priority
    local rank = mine and (call('ZRANK', owner_ready_key(job.lane, priority, job.owner), job.id) or 0)
    local before = 1
    for _, owner in ipairs(owners) do
      if mine and owner == job.owner then
        before = 0
      else
        local jobs = call('ZCARD', owner_ready_key(job.lane, priority, owner))
        ahead = ahead + (mine and math.min(jobs, rank + before) or jobs)
      end
    end
    if mine then return ahead + rank end
  end
end

local function describe(job)
  return {call('HGETALL', job_key(job.id)), job.status == 'queued' and jobs_ahead(job) or -1, NOW}
end

-- Head and arrays of a job's result, and whether they are sealed; nil without one. With `most`: of so many bytes at most.
local function result_of(job, most)
  local kept = call('HMGET', job_key(job.id), 'result', 'result_expired', 'result_bytes')
  if job.status ~= 'succeeded' or kept[2] or (most and tonumber(kept[3] or 0) > most) then return nil end
  local result = call('HMGET', 'pp:result:' .. kept[1], 'head', 'arrays', 'sealed')
  return result[1] and {result[1], result[2], result[3] and 1 or 0}
end

local function read_batch(id, owner)
  local batch = call('HMGET', 'pp:batch:' .. id, 'owner', 'created', 'jobs')
  if not batch[1] or (owner ~= '' and owner ~= batch[1]) then return nil end
  return batch
end

local function describe_batch(batch)
  local states = {}
  for _, id in ipairs(cjson.decode(batch[3])) do
    local status = call('HGET', job_key(id), 'status')
    if status then
      states[#states + 1] = id
      states[#states + 1] = status
    end
  end
  return {batch[1], batch[2], states}
end

local function cancel(job)
  if job.status ~= 'queued' and job.status ~= 'running' then return end
  if call('SCARD', job_key(job.id) .. ':running') == 0 then return end_job(job, 'cancelled') end
  withdraw(job)
  set_status(job, 'cancelling')
  event(job.id, 'status', {status = 'cancelling'})
end
