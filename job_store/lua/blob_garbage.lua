-- no-writes
-- ARGV: limit. Prefixes of blobs that nothing needs any more.
return call('SRANDMEMBER', 'pp:blobs:garbage', ARGV[1])
