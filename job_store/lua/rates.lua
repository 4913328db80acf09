-- no-writes
-- ARGV: model. Measured flops per second by device.
return call('HGETALL', 'pp:rates:' .. ARGV[1])
