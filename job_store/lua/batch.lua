-- no-writes
-- ARGV: batch, owner or ''.
local batch = read_batch(ARGV[1], ARGV[2])
return batch and describe_batch(batch)
