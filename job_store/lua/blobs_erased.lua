-- allow-oom
-- ARGV: prefixes whose blobs are erased.
return call('ZREM', 'pp:blobs:garbage', unpack(ARGV))
