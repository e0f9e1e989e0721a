-- Appends entries to a run's journal, in one round trip and at most once.
--
-- KEYS[1]  the journal
-- ARGV[1]  attempt            ARGV[2]  seq of the first entry, or 0: the one after the last
-- ARGV[3]  channel to notify  ARGV[4]  time to live, ms
-- ARGV[5]  '1': the last entry is the end (the time to live is set anew)
-- ARGV[6]  oldest id to keep, or ''
-- ARGV[7..] pairs: field, payload
--
-- Returns {status, attempt, seq}, the latter two being the journal's last id.
--   'ok'      all entries are in the journal, now or since an earlier call with the same ids
--   'fenced'  a newer attempt has written: nothing was appended
--   'ended'   the journal has its end entry: nothing was appended
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
  if ended then return {'ended', last_attempt, last_seq} end
  first = known + 1
end
local count = (#ARGV - 6) / 2
local final = first + count - 1
if ended and (final > known or (final == known and ARGV[5] ~= '1')) then
  return {'ended', last_attempt, last_seq}
end
local seq = known
for i = 0, count - 1 do
  if first + i > known then
    seq = first + i
    redis.call('XADD', KEYS[1], attempt .. '-' .. seq, ARGV[7 + 2 * i], ARGV[8 + 2 * i])
  end
end
if seq > known then
  if ARGV[6] ~= '' then
    redis.call('XTRIM', KEYS[1], 'MINID', ARGV[6])
  end
  if last_attempt < 0 or ARGV[5] == '1' then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
  end
  redis.call('PUBLISH', ARGV[3], '')
end
return {'ok', attempt, seq}
