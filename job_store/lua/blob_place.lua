-- allow-oom
-- ARGV: name or ''. The name of the blob store's place on record, which this one becomes where there is none.
if ARGV[1] ~= '' then call('SET', 'pp:blobs:place', ARGV[1], 'NX') end
return call('GET', 'pp:blobs:place')
