-- no-writes
-- ARGV: job. The devices that took part.
return call('SMEMBERS', job_key(ARGV[1]) .. ':devices')
