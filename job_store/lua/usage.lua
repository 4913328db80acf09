-- no-writes
-- ARGV: owner, submits per minute or 0. Tokens left, compute seconds used today, ms until the day (UTC) ends, queued jobs,
-- running shards, bytes in the store.
local bucket, limit = call('HMGET', 'pp:submits:' .. ARGV[1], 'tokens', 'at'), tonumber(ARGV[2])
local tokens = tonumber(bucket[1] or limit) + math.max(0, NOW - tonumber(bucket[2] or NOW)) * limit / 60000
local used = call('GET', 'pp:compute:' .. ARGV[1] .. '|' .. math.floor(NOW / 86400000)) or '0'
return {tostring(math.min(tokens, limit)), used, 86400000 - NOW % 86400000, call('ZCARD', index_key(ARGV[1], 'status:queued')),
  call('SCARD', 'pp:running:' .. ARGV[1]), tonumber(call('HGET', 'pp:bytes', ARGV[1]) or 0)}
