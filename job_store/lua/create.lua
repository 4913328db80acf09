-- deny-oom
-- Creates all jobs or none: makes every check first, then the writes.
-- ARGV: owner, settings JSON, then per job: id, header JSON, spec JSON, facts JSON, number of shards, the shards.
local owner, settings = ARGV[1], cjson.decode(ARGV[2])
local limits = settings.limits
local MOST_NAMES = 100000

local function answer(kind, ids, batch, cached, job)
  job = #ids == 1 and (job or read_job(ids[1]))
  return {kind, ids, batch or '', cached, job and describe(job)}
end

local function remember(name, ms)  -- keeps an owner's latest names; each takes some 400 bytes
  local names = 'pp:idempotencies:' .. owner
  call('ZADD', names, NOW + ms, name)
  call('ZREMRANGEBYSCORE', names, '-inf', NOW)
  call('PEXPIRE', names, ms)
  while call('ZCARD', names) > MOST_NAMES do
    call('DEL', 'pp:idempotency:' .. owner .. '|' .. call('ZPOPMIN', names)[1])
  end
end

local function cached_flags(ids)
  local flags = {}
  for i, id in ipairs(ids) do flags[i] = tonumber(call('HGET', job_key(id), 'cached') or 0) end
  return flags
end

local idempotency = settings.idempotency and ('pp:idempotency:' .. owner .. '|' .. settings.idempotency.key)
if idempotency then
  local known = call('HMGET', idempotency, 'body', 'jobs', 'batch')
  if known[1] and known[1] ~= settings.idempotency.body then return {'reused'} end
  if known[2] then
    local ids = cjson.decode(known[2])
    return answer('replayed', ids, known[3], cached_flags(ids))
  end
end

local jobs, at = {}, 3
while ARGV[at] do
  local job = cjson.decode(ARGV[at + 1])
  job.id, job.spec, job.facts, job.shards, job.first = ARGV[at], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]), at + 5
  at = job.first + job.shards
  jobs[#jobs + 1] = job
end

local ids = {}
for i, job in ipairs(jobs) do ids[i] = job.id end
if call('EXISTS', job_key(ids[1])) == 1 then return answer('created', ids, settings.batch, cached_flags(ids)) end

local fresh = 0
for _, job in ipairs(jobs) do
  job.cache = 'pp:cache:' .. owner .. '|' .. job.spec_sha256
  job.result = job.use_cache and call('GET', job.cache) or nil
  if not job.result then
    if job.shards == 0 then return {'cache_gone'} end
    fresh = fresh + 1
  end
end

local function weight_of(job)
  local bytes = RECORD_BYTES + #job.spec + #job.facts
  if job.result then return bytes end
  for shard = 0, job.shards - 1 do bytes = bytes + size_of(ARGV[job.first + shard]) end
  return bytes + (job.result_bytes or 0)
end

local function over(name, allowed, used, retry_ms, asked)
  return {'quota', name, tostring(allowed), tostring(used), retry_ms, asked or 0}
end

if limits.queued_jobs and fresh > 0 then
  local used = call('ZCARD', index_key(owner, 'status:queued')) + fresh
  if used > limits.queued_jobs then return over('queued_jobs', limits.queued_jobs, used, 5000, fresh) end
end
if limits.store_bytes then
  local asked = 0
  for _, job in ipairs(jobs) do asked = asked + weight_of(job) end
  local used = tonumber(call('HGET', 'pp:bytes', owner) or 0) + asked
  if used > limits.store_bytes then return over('store_bytes', limits.store_bytes, used, 60000, asked) end
end
if limits.compute_s_per_day and fresh > 0 then
  local used = tonumber(call('GET', 'pp:compute:' .. owner .. '|' .. math.floor(NOW / 86400000)) or 0)
  if used >= limits.compute_s_per_day then
    return over('compute_s_per_day', limits.compute_s_per_day, used, 86400000 - NOW % 86400000)
  end
end
if limits.submits_per_minute then
  local bucket = call('HMGET', 'pp:submits:' .. owner, 'tokens', 'at')
  local rate = limits.submits_per_minute / 60000
  local tokens = tonumber(bucket[1] or limits.submits_per_minute) + math.max(0, NOW - tonumber(bucket[2] or NOW)) * rate
  tokens = math.min(tokens, limits.submits_per_minute)
  if tokens < #jobs then
    local used = limits.submits_per_minute - math.floor(tokens) + #jobs
    return over('submits_per_minute', limits.submits_per_minute, used, math.ceil((#jobs - tokens) / rate),
      #jobs)
  end
  call('HSET', 'pp:submits:' .. owner, 'tokens', tokens - #jobs, 'at', NOW)
  call('EXPIRE', 'pp:submits:' .. owner, 120)
end

local function append(list, ...)
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

-- Notes what happens to a job that is being made, which nobody can wait for yet; its version is their number.
local function tell(job, kind, data)
  note(job.id, kind, data)
  job.version = job.version + 1
end

local function add_to_indexes(job)
  for _, kind in ipairs(index_kinds(job.model, job.status, job.tags)) do
    call('ZADD', index_key(owner, kind), 0, job.id)
    call('ZADD', index_key('*', kind), 0, job.id)
  end
end

local function write_record(job, ...)
  local weight = weight_of(job)
  local fields = {'id', job.id, 'owner', owner, 'model', job.model, 'priority', job.priority, 'status', job.status,
    'version', job.version, 'spec', job.spec, 'facts', job.facts, 'tags', job.tags, 'trace', job.trace, 'created', NOW,
    'phase', 0, 'attempt', 0, 'cache', job.cache, 'retention', settings.result_ms,
    'record_retention', settings.record_ms, 'schema', job.schema, 'weight', weight, ...}
  if settings.batch then append(fields, 'batch', settings.batch) end
  if job.name then append(fields, 'name', job.name) end
  if job.webhook_url then append(fields, 'webhook_url', job.webhook_url) end
  call('HSET', job_key(job.id), unpack(fields))
  occupy(owner, weight)
  add_to_indexes(job)
  count('jobs_created')
end

local function answer_from_cache(job)
  local result = 'pp:result:' .. job.result
  if job.shards > 0 and is_blob(ARGV[job.first]) then discard('work/' .. job.id) end
  call('SADD', result .. ':jobs', job.id)
  count('jobs_cached')
  job.status = 'succeeded'
  tell(job, 'status', {status = job.status})
  write_record(job, 'cached', 1, 'result', job.result, 'result_bytes', call('HGET', result, 'bytes'),
    'started', NOW, 'finished', NOW, 'shards', 1, 'phases', 1, 'done', 1, 'next', 1)
  note_end(job.id, owner, job.status, settings.result_ms, job.webhook_url)
end

local function queue(job)
  write_record(job, 'cached', 0, 'shards', job.shards, 'phases', job.phases, 'done', 0, 'next', 0)
  for shard = 0, job.shards - 1 do
    call('HSET', job_key(job.id) .. ':inputs', shard, ARGV[job.first + shard])
    note_blob(job.id, ARGV[job.first + shard])
  end
  call('HINCRBY', 'pp:claimable', job.model, job.shards)
  call('SADD', 'pp:models', job.model)
  call('ZADD', 'pp:waiting:' .. job.model, NOW, job.id)
  if job.expires_after_ms then
    call('HSET', job_key(job.id), 'deadline', NOW + job.expires_after_ms)
    call('ZADD', 'pp:deadlines', NOW + job.expires_after_ms, job.id)
  end
  enter_ready(job)
end

local cached = {}
for i, job in ipairs(jobs) do
  job.owner, job.status, job.version, job.lane = owner, 'queued', 0, lane_of(job.model, job.schema)
  tell(job, 'status', {status = 'queued'})
  for _, warning in ipairs(job.warnings) do tell(job, 'warning', {message = warning}) end
  if job.result then answer_from_cache(job) else queue(job) end
  cached[i] = job.result and 1 or 0
end
for model, message in pairs(settings.messages) do nudge(model, message) end
if limits.running_shards then call('HSET', 'pp:limits', owner, limits.running_shards) else call('HDEL', 'pp:limits', owner) end
if settings.batch then
  local key = 'pp:batch:' .. settings.batch
  call('HSET', key, 'owner', owner, 'created', NOW, 'jobs', cjson.encode(ids), 'left', #ids)
  call('PEXPIRE', key, settings.record_ms + 30 * 86400000)
end
if idempotency then
  call('HSET', idempotency, 'body', settings.idempotency.body, 'jobs', cjson.encode(ids), 'batch', settings.batch or '')
  call('PEXPIRE', idempotency, settings.idempotency.ms)
  remember(settings.idempotency.key, settings.idempotency.ms)
end
return answer('created', ids, settings.batch, cached, jobs[1])
