-- allow-oom
-- ARGV: prefixes whose blobs are erased.
return call('SREM', 'pp:blobs:garbage', unpack(ARGV))
