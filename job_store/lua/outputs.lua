-- no-writes
-- ARGV: job, phase, first shard, number. Outputs of some shards, for the assembly.
local wanted = {}
for shard = tonumber(ARGV[3]), ARGV[3] + ARGV[4] - 1 do wanted[#wanted + 1] = string.format('%d', shard) end
return call('HMGET', job_key(ARGV[1]) .. ':out:' .. ARGV[2], unpack(wanted))
