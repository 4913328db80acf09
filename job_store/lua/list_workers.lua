-- no-writes
-- ARGV: owner or ''. Descriptions of the live workers, the time of their last heartbeat, and whether the owner may
-- see the job that each runs.
local found = {}
for _, name in ipairs(call('ZRANGE', 'pp:workers', 0, -1)) do
  local description = call('GET', 'pp:worker:' .. name)
  if description then
    local running = cjson.decode(description).running
    local id = type(running) == 'string' and running:match('^[^/]+')
    local is_seen = ARGV[1] == '' or (id and visible(id, ARGV[1]))
    found[#found + 1] = {name, description, call('ZSCORE', 'pp:workers', name), is_seen and 1 or 0}
  end
end
return found
