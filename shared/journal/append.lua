-- Appends entries to a run's journal, in one round trip and at most once.
--
-- KEYS[1]  the journal
-- KEYS[2]  the notes of its times: one is added of what is written now; absent: none
-- ARGV[1]  attempt            ARGV[2]  seq of the first entry, or 0: the one after the last
-- ARGV[3]  channel to notify, of the entries themselves (`<id> <field> <length>\n<payload>` each) where they are short
-- ARGV[4]  time to live, ms
-- ARGV[5]  '1': the last entry is the end (the time to live is set anew)
-- ARGV[6]  oldest id to keep, or ''
-- ARGV[7..] pairs: field, payload
--
-- Returns {status, attempt, seq}, the latter two being the journal's last id.
--   'ok'      all entries are in the journal, now or since an earlier call with the same ids
--   'fenced'  a newer attempt has written: nothing was appended
--   'ended'   the journal has its end entry: nothing was appended
--   'empty'   an attempt start, or an end whose seq is 0, found no journal: nothing was appended
-- What stands at KEYS[2] and is no stream costs the note alone. An end seals the stream: Redis itself refuses whatever
-- comes after it, and what a newer attempt has gone before. The start of a later attempt says 'lost' where the journal
-- does not begin with admission's first entry, or does not hold the beginning of the attempt that wrote last: what was
-- shown before cannot all be taken back then. Where attempts before that one are not whole, its own start says so. Else
-- it says the id of the entry before it: who has been shown a later one was shown what a failover of Redis has lost.
local function note(seq)
  redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', 4000, '*', 'c', ARGV[1] .. '-' .. seq)
  redis.pcall('PEXPIRE', KEYS[2], ARGV[4])
end
if ARGV[7] == 'e' and ARGV[5] == '' and ARGV[2] ~= '0' then
  -- the most frequent case by far, at two thirds of the cost: events that follow what is there
  local seq, id = ARGV[2], ARGV[1] .. '-' .. ARGV[2]
  if type(redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', id, 'e', ARGV[8])) == 'string' then
    local news = {id .. ' e ' .. #ARGV[8] .. '\n' .. ARGV[8]}
    local size = #ARGV[8]
    for i = 9, #ARGV, 2 do
      seq = seq + 1
      id = ARGV[1] .. '-' .. seq
      redis.call('XADD', KEYS[1], id, ARGV[i], ARGV[i + 1])
      news[#news + 1] = id .. ' ' .. ARGV[i] .. ' ' .. #ARGV[i + 1] .. '\n' .. ARGV[i + 1]
      size = size + #ARGV[i + 1]
    end
    if ARGV[6] ~= '' then
      redis.call('XTRIM', KEYS[1], 'MINID', ARGV[6])
    end
    redis.call('PUBLISH', ARGV[3], size <= 65536 and table.concat(news) or '')
    if KEYS[2] then note(ARGV[2]) end
    return {'ok', tonumber(ARGV[1]), tonumber(seq)}
  end
end
local attempt = tonumber(ARGV[1])
local first = tonumber(ARGV[2])
local last_attempt, last_seq, ended = -1, 0, false
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then
  local a, s = string.match(last[1][1], '^(%d+)-(%d+)$')
  last_attempt, last_seq = tonumber(a), tonumber(s)
  ended = last[1][2][1] == 'end'
end
if last_attempt > attempt then
  return {'fenced', last_attempt, last_seq}
end
local known = last_attempt == attempt and last_seq or 0
if first == 0 then
  if last_attempt < 0 then return {'empty', 0, 0} end
  if ended then return {'ended', last_attempt, last_seq} end
  first = known + 1
end
if ARGV[7] == 'm' and known == 0 then
  if last_attempt < 0 then return {'empty', 0, 0} end
  local function is_first(id) -- of the entries from the beginning of its attempt on
    return redis.call('XRANGE', KEYS[1], string.match(id, '^%d+-') .. '0', '+', 'COUNT', 1)[1][1] == id
  end
  if attempt > 1 and not (last_attempt > 0 and is_first('0-1') and is_first(last_attempt .. '-1')) then
    ARGV[8] = 'lost'
  else
    ARGV[8] = last_attempt .. '-' .. last_seq
  end
end
local count = (#ARGV - 6) / 2
local final = first + count - 1
if ended and (final > known or (final == known and ARGV[5] ~= '1')) then
  return {'ended', last_attempt, last_seq}
end
local seq = known
local news, size = {}, 0
for i = 0, count - 1 do
  if first + i > known then
    seq = first + i
    local id, field, payload = attempt .. '-' .. seq, ARGV[7 + 2 * i], ARGV[8 + 2 * i]
    redis.call('XADD', KEYS[1], id, field, payload)
    news[#news + 1] = id .. ' ' .. field .. ' ' .. #payload .. '\n' .. payload
    size = size + #payload
  end
end
if seq > known then
  if ARGV[6] ~= '' then
    redis.call('XTRIM', KEYS[1], 'MINID', ARGV[6])
  end
  if ARGV[5] == '1' then
    redis.pcall('XSETID', KEYS[1], '18446744073709551615-18446744073709551615')
  end
  if last_attempt < 0 or ARGV[5] == '1' then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
  redis.call('PUBLISH', ARGV[3], size <= 65536 and table.concat(news) or '')
  if KEYS[2] then note(known + 1 > first and known + 1 or first) end
end
return {'ok', attempt, seq}
