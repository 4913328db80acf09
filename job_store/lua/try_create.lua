-- deny-oom
-- Writes nothing, but fails if creating a job would fail for lack of memory or disk.
return 1
