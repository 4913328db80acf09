-- deny-oom
-- ARGV: owner, idempotency key, body digest, ms. Marks the key as being answered.
local key = 'pp:idempotency:' .. ARGV[1] .. '|' .. ARGV[2]
local known = call('HMGET', key, 'body', 'jobs', 'batch')
if not known[1] then
  call('HSET', key, 'body', ARGV[3])
  call('PEXPIRE', key, ARGV[4])
  return {'reserved'}
end
if known[1] ~= ARGV[3] then return {'reused'} end
if not known[2] then return {'in_flight'} end
local ids, cached = cjson.decode(known[2]), {}
for i, id in ipairs(ids) do cached[i] = tonumber(call('HGET', job_key(id), 'cached') or 0) end
return {'replayed', ids, known[3], cached, {}}
