-- allow-oom
-- ARGV: model, message.
return nudge(ARGV[1], ARGV[2])
