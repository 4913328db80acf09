-- no-writes
return call('HGETALL', 'pp:totals')
