-- no-writes
-- ARGV: least age in ms, limit. Prefixes of blobs that nothing has needed for so long.
return call('ZRANGEBYSCORE', 'pp:blobs:garbage', '-inf', NOW - ARGV[1], 'LIMIT', 0, ARGV[2])
