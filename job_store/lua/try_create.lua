-- deny-oom
-- Writes nothing, and is refused when creating a job would be: for want of memory or of disk.
return 1
