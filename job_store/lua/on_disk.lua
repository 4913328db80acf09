-- no-writes
-- Whether all earlier writes are in the append-only file: 'yes', 'wait' or 'no', or 'off' without such a file.
-- A write reaches the file before its answer, unless the previous write failed or the file is just being synchronised.
local state = call('INFO', 'persistence')
local function said(name) return string.match(state, name .. ':(%w+)') end
if said('aof_enabled') ~= '1' then return 'off' end
if said('aof_last_write_status') ~= 'ok' then return 'no' end
if said('aof_buffer_length') == '0' or said('aof_pending_bio_fsync') == '0' then return 'yes' end
return 'wait'
