-- Notices to backends of who connected and who disconnected, so that every connect gets exactly one disconnect.
--
--   KEYS: the stream of notices, the table of nodes, and of one node what it has announced and not ended
--   ARGV: what to do, and
--
--   look node link                                            -> what the table says of it, or nothing
--   enter node <as it was seen> <link> <lease in ms> <batch>  -> 1 if nothing has changed since
--   write node link lease batch length {connect <connection> <at> <fields> <again> | end <connection> <at> <reason>}…
--                                                             -> [connects, ends, cut off], or false: enter anew
--   silent                                                    -> the nodes whose lease has run out
--   bury me node length connection…                           -> [ends, cut off, 1 if all of it is done], or false: it lives
--   leave node link
--
-- The table says of each node: until when its lease holds (0: being buried; less than 0: buried then), over which link it
-- speaks, and which batch it wrote last. What is written to the stream comes first: should that fail, nothing was done.

local stream, nodes, announced = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local REMEMBERED = 24 * 3600 * 1000

local function known(node)
  local text = redis.call('HGET', nodes, node)
  if not text then return nil end
  local till, link, batch = string.match(text, '^(%-?%d+) (%S+) (%d+)$')
  return { text = text, till = tonumber(till), link = link, batch = tonumber(batch) }
end

local function note(node, till, link, batch)
  redis.call('HSET', nodes, node, string.format('%.0f %s %.0f', till, link, batch))
end

local function add(node, kind, connection, at, fields, name, value)
  local entry = { 'type', kind, 'id', connection .. ':' .. kind, 'connection', connection, 'node', node, 'at', at }
  for _, field in ipairs(cjson.decode(fields)) do entry[#entry + 1] = field end
  if name then
    entry[#entry + 1] = name
    entry[#entry + 1] = value
  end
  redis.call('XADD', stream, '*', unpack(entry))
end

local function disconnect(node, connection, at, reason)
  local fields = redis.call('HGET', announced, connection)
  if not fields then return 0 end
  add(node, 'disconnect', connection, at, fields, 'reason', reason)
  redis.call('HDEL', announced, connection)
  return 1
end

local function cut_off(length)
  return redis.call('XTRIM', stream, 'MAXLEN', '~', length)
end

local verbs = {}

-- From now on, what it sent over an earlier link and is read late is not done.
function verbs.look(node, link)
  local was = known(node)
  if not was then return '' end
  note(node, was.till, link, was.batch)
  return known(node).text
end

function verbs.enter(node, seen, link, lease, batch)
  local was = known(node)
  if (was and was.text or '') ~= seen then return 0 end
  -- Without the rights to all that will be needed nothing may be begun, so that nothing stays half done.
  redis.call('HEXISTS', announced, '')
  redis.call('HLEN', announced)
  redis.call('HDEL', announced, '')
  redis.call('HGETALL', nodes)
  redis.call('XTRIM', stream, 'MAXLEN', '~', 4294967295)
  note(node, now + lease, link, tonumber(batch))
  return 1
end

function verbs.write(node, link, lease, batch, length, ...)
  local me, items = known(node), { ... }
  if not me or me.till <= 0 or me.link ~= link or me.batch ~= tonumber(batch) then return false end
  local connects, ends, at = 0, 0, 1
  while items[at] do
    local connection, when, text = items[at + 1], items[at + 2], items[at + 3]
    if items[at] == 'connect' then
      if redis.call('HEXISTS', announced, connection) == 0 then
        if items[at + 4] == '1' then
          add(node, 'connect', connection, when, text, 'again', 'true')
        else
          add(node, 'connect', connection, when, text)
        end
        redis.call('HSET', announced, connection, text)
        connects = connects + 1
      end
      at = at + 5
    else
      ends = ends + disconnect(node, connection, when, text)
      at = at + 4
    end
  end
  note(node, now + lease, link, me.batch + (items[1] and 1 or 0))
  return { connects, ends, items[1] and cut_off(length) or 0 }
end

function verbs.silent()
  local found, table = {}, redis.call('HGETALL', nodes)
  for at = 1, #table, 2 do
    local till = tonumber(string.match(table[at + 1], '^%-?%d+'))
    if till < 0 and -till < now - REMEMBERED then
      redis.call('HDEL', nodes, table[at])
    elseif till >= 0 and till < now then
      found[#found + 1] = table[at]
    end
  end
  return found
end

function verbs.bury(me, node, length, ...)
  local mine, its = known(me), known(node)
  if not its or its.till < 0 then return { 0, 0, 1 } end
  if its.till > 0 then
    -- When Redis itself was away for a while, nobody's lease holds, and nobody is dead for that.
    if me == node or not mine or mine.till < now or its.till >= now then return false end
    note(node, 0, its.link, its.batch)
  end
  local ends = 0
  for _, connection in ipairs({ ... }) do
    ends = ends + disconnect(node, connection, string.format('%.0f', now), 'node_lost')
  end
  local done = redis.call('HLEN', announced) == 0
  if done then note(node, -now, its.link, its.batch) end
  return { ends, ends > 0 and cut_off(length) or 0, done and 1 or 0 }
end

function verbs.leave(node, link)
  local me = known(node)
  if not me or me.till <= 0 or me.link ~= link then return 0 end
  if redis.call('HLEN', announced) == 0 then
    redis.call('HDEL', nodes, node)
  else
    note(node, 1, link, me.batch) -- the others need not wait
  end
  return 1
end

return verbs[ARGV[1]](unpack(ARGV, 2))
