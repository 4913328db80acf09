-- no-writes
-- ARGV: worker, then models. Messages in the queues of an idle worker; 0 for a worker that loads a model or runs a shard.
local description = call('GET', 'pp:worker:' .. ARGV[1])
if not description then return 0 end
local worker = cjson.decode(description)
if worker.is_loading or worker.running ~= cjson.null then return 0 end
local waiting = 0
for i = 2, #ARGV do waiting = waiting + call('LLEN', 'patch.' .. ARGV[i]) end
return waiting
