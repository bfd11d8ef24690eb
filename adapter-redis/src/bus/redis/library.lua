-- Publishing to a room in one step. Loaded as a Redis function, and run as a script where functions are not allowed.
--
--   roomcast_publish 1 prefix:{room} <envelope JSON>           -> [offset, receivers]
--   roomcast_publish 1 prefix:{room} <frame> frame <id or ''> [<deadline>]
--                                                              -> [offset, receivers, 1 if it was there already]
--
-- The deadline is in microseconds since 1970 by the clock of this server. A call that arrives later does nothing: its
-- node has given it up, and what the node published since must not be overtaken by it.
--
-- What is published is passed on as it came: nothing here is ever encoded again. Every key begins with the first one,
-- so that all of them are in its slot.

local KNOWN = {
  room = 'string', rooms = 'table', event = 'string', data = 'any', args = 'table', id = 'string',
  retain = 'boolean', except = 'table', namespace = 'string', volatile = 'boolean', count = 'boolean',
}
local RESERVED = {
  connect = true, connect_error = true, disconnect = true, disconnecting = true,
  newListener = true, removeListener = true,
}
local MAX_BYTES, MAX_STRICT, MAX_NAME, MAX_LIST, MAX_BINARY, REMEMBERED_MS = 1048576, 16384, 256, 128, 10, 600000

local decoder = nil -- a decoder of our own: the shared one takes NaN and 0x10 for numbers
local last = 0      -- the last stamp of this process; a script has no memory, and keeps it in a key

local function refuse(code, why)
  return { err = 'ROOMCAST ' .. code .. ': ' .. why }
end

-- Whether it is JSON where the decoder is lenient: it stops at NUL, and takes control characters in strings, and numbers
-- like `1.` and `-.5`. What is longer than usual is left to the nodes, because Redis does nothing else meanwhile. Bytes
-- that are not UTF-8 are not looked for at all: the nodes put U+FFFD in their place.
local function is_strict(text)
  if string.find(text, '\0', 1, true) then return false end
  if #text > MAX_STRICT then return true end
  -- An anchored pattern is several times as fast as one that is looked for.
  local _, usual = string.find(text, '^[\32-\126\t\n\r]*')
  if usual < #text and string.find(text, '[\1-\8\11\12\14-\31]', usual + 1) then return false end
  local breaks = string.find(text, '\n', 1, true) or string.find(text, '\t', 1, true) or string.find(text, '\r', 1, true)
  local dots = string.find(text, '.', 1, true) and (string.find(text, '%d%.%D') or string.find(text, '-.', 1, true))
  if not breaks and not dots then return true end
  local plain = string.find(text, '\\', 1, true) and string.gsub(text, '\\.', '') or text
  if breaks then
    for inner in string.gmatch(plain, '"([^"]*)"') do
      if string.find(inner, '[\t\n\r]') then return false end
    end
  end
  local outside = string.gsub(plain, '"[^"]*"', '""')
  return not (dots and (string.find(outside, '%.%D') or string.find(outside, '-.', 1, true)))
end

local function decode(text)
  if not decoder then
    decoder = cjson.new()
    decoder.decode_invalid_numbers(false)
    decoder.decode_max_depth(128)
  end
  local ok, value = pcall(decoder.decode, text)
  if ok and type(value) == 'table' and (string.byte(text) == 123 or string.find(text, '^[ \t\r\n]*{')) and is_strict(text) then
    return value
  end
end

-- 1 to 256 bytes without control characters, those of Latin-1 included.
local function is_name(name, braces)
  if type(name) ~= 'string' or #name == 0 or #name > MAX_NAME then return false end
  -- One look is enough for nearly every name.
  if not string.find(name, '[%z\1-\31\127\194{}]') then return true end
  return not string.find(name, '[%z\1-\31\127]') and not string.find(name, '\194[\128-\159]')
    and (braces or not string.find(name, '[{}]'))
end

-- With its padding or without; bits that are left over are zero.
local function is_base64(text)
  local body, padding = string.match(text, '^([A-Za-z0-9+/]*)(=*)$')
  if not body then return false end
  local over = #body % 4
  if padding ~= '' and (over < 2 or over + #padding ~= 4) then return false end
  return over == 0 or (over == 2 and string.find(body, '[AQgw]$')) or (over == 3 and string.find(body, '[AEIMQUYcgkosw048]$'))
end

-- How many binary parts there are, or nil and why that cannot be sent.
local function binaries(value, found)
  if type(value) ~= 'table' then return found end
  local marker = value['$binary']
  if marker ~= nil then
    for key in pairs(value) do
      if key ~= '$binary' then return nil, 'an object with $binary must have no other key' end
    end
    if type(marker) ~= 'string' or not is_base64(marker) then
      return nil, 'the value of $binary must be a string of base64'
    end
    if found == MAX_BINARY then return nil, 'more than 10 $binary values' end
    return found + 1
  end
  if value._placeholder == true then return nil, 'an object with "_placeholder": true is reserved by Socket.IO' end
  for _, item in pairs(value) do
    local why
    found, why = binaries(item, found)
    if not found then return nil, why end
  end
  return found
end

-- The refusal of an envelope, if there is a reason for one. The nodes check it again; here is whom it can be told.
local function check(text, envelope, room)
  for name, value in pairs(envelope) do
    local expected = KNOWN[name]
    if not expected then return refuse('unknown_field', 'the envelope has an unknown field') end
    if expected ~= 'any' and type(value) ~= expected then
      return refuse('wrong_type', '`' .. name .. '` must be a ' .. (expected == 'table' and 'list' or expected))
    end
  end
  if envelope.room ~= nil and envelope.rooms ~= nil then
    return refuse('room_and_rooms', 'the envelope has both `room` and `rooms`')
  end
  if (envelope.room ~= nil and envelope.room ~= room)
    or (envelope.rooms ~= nil and (envelope.rooms[1] ~= room or envelope.rooms[2] ~= nil)) then
    return refuse('bad_room', 'the room of the envelope is not the one of the key: call once for each room')
  end
  if envelope.event == nil then return refuse('no_event', 'the envelope names no event: set `event`') end
  if not is_name(envelope.event, true) or RESERVED[envelope.event] then
    return refuse('bad_event', '`event` must be 1 to 256 bytes without control characters, and not reserved')
  end
  if envelope.data ~= nil and envelope.args ~= nil then
    return refuse('data_and_args', 'the envelope has both `data` and `args`')
  end
  if envelope.args ~= nil and (next(envelope.args) ~= nil and envelope.args[1] == nil
      or next(envelope.args) == nil and not string.find(text, '"args"[ \t\r\n]*:[ \t\r\n]*%[')) then
    return refuse('bad_args', '`args` must be a list')
  end
  if envelope.id ~= nil and (#envelope.id == 0 or #envelope.id > MAX_NAME) then
    return refuse('bad_id', '`id` needs 1 to 256 bytes')
  end
  if envelope.namespace ~= nil and (not is_name(envelope.namespace) or string.sub(envelope.namespace, 1, 1) ~= '/') then
    return refuse('bad_namespace', '`namespace` must begin with / and follow the rules of room names')
  end
  if envelope.except ~= nil then
    if envelope.except[1] == nil and (next(envelope.except) ~= nil
        or string.find(text, '"except"[ \t\r\n]*:[ \t\r\n]*{')
        or not string.find(text, '"except"[ \t\r\n]*:[ \t\r\n]*%[')) then
      return refuse('wrong_type', '`except` must be a list')
    end
    if #envelope.except > MAX_LIST then return refuse('bad_except', 'more than 128 items in `except`') end
    for _, name in pairs(envelope.except) do
      if not is_name(name) then return refuse('bad_except', 'an item of `except` is not a name') end
    end
  end
  if type(envelope.data or envelope.args) == 'table'
    and (string.find(text, '$binary', 1, true) or string.find(text, '_placeholder', 1, true)) then
    local found, why = binaries(envelope.data, 0)
    if found then found, why = binaries(envelope.args, found) end
    if not found then return refuse(string.find(why, 'more than', 1, true) and 'too_many_binaries' or 'bad_binary', why) end
  end
end

-- Microseconds since 1970 as a number and as text, and always more than before: clocks stand still and go back.
local function next_stamp(key, remembers, deadline)
  local time = redis.call('TIME')
  local seconds, micros = time[1], time[2]
  local stamp = seconds * 1000000 + micros
  if deadline and stamp > deadline then return nil end
  if not remembers then last = tonumber(redis.call('GET', key .. ':stamp')) or 0 end
  local text
  if stamp > last then
    -- Putting the digits together is cheaper than formatting them.
    text = seconds .. string.sub('000000', #micros + 1) .. micros
  else
    stamp = last + 1
    text = string.format('%.0f', stamp)
  end
  last = stamp
  if not remembers then redis.call('SET', key .. ':stamp', text, 'PX', REMEMBERED_MS) end
  return stamp, text
end

local function publish(keys, args, remembers)
  local key, payload, is_frame, id = keys[1], args[1], args[2] == 'frame', args[3]
  local flags, deadline = '\2\8\0', nil
  -- What a node says was checked by the node.
  if not is_frame then
    local room = key and string.match(key, '^[^{}]+:{([^{}]+)}$')
    if #keys ~= 1 or not room or not is_name(room) then
      return refuse('bad_room', 'the one key must be prefix:{room}, with a room of 1 to 256 bytes without control characters')
    end
    if not payload or args[2] then
      return refuse('wrong_type', 'call it with one key and one envelope')
    end
    if #payload > MAX_BYTES then return refuse('too_large', 'the envelope has more than 1 MiB: publish it by the HTTP API') end
    local envelope = decode(payload)
    if not envelope then return refuse('not_json', 'the envelope is not a JSON object') end
    local refusal = check(payload, envelope, room)
    if refusal then return refusal end
    flags, id = '\2\8\1', envelope.id
  else
    deadline = tonumber(args[4])
    if #keys ~= 1 or #args < 3 or #args > 4 or (args[4] and not deadline) then
      return refuse('wrong_type', 'call it with one key, one frame, its id and its deadline')
    end
    if id == '' then id = nil end
  end
  local record = id and key .. ':id:' .. id
  if record then
    local answer = redis.call('GET', record)
    if answer then
      local offset, receivers = string.match(answer, '^(%d+) (%d+)$')
      return is_frame and { offset, tonumber(receivers), 1 } or { offset, tonumber(receivers) }
    end
  end
  -- Before anything is done: to remember it must be allowed.
  if record and redis.acl_check_cmd and not redis.acl_check_cmd('SET', record, '', 'PX', '1') then
    return refuse('no_rights', 'an `id` needs the right to SET ' .. record)
  end
  local stamp, offset = next_stamp(key, remembers, deadline)
  if not stamp then return refuse('expired', 'the call came after its deadline') end
  local receivers = redis.call('SPUBLISH', key, flags .. struct.pack('<I8', stamp) .. payload)
  -- Last, so that what is remembered has happened. Should it fail now, it has happened nevertheless, and that is said.
  if record then redis.pcall('SET', record, offset .. ' ' .. receivers, 'PX', REMEMBERED_MS) end
  return is_frame and { offset, receivers, 0 } or { offset, receivers }
end
