-- Looks at runs of which nothing has been heard for a while.
--
-- KEYS[1], KEYS[2] and so on: for each run its lease, its journal
-- ARGV[1] and so on: for each run the id of the last entry known here
-- Returns for each run: 0 a worker has it and there is no news, 1 no worker has it and there is no news, 2 there is
-- news; the journal is gone, or ends before what is known here, and 3 a worker, 4 no worker has it.
local function parts(id)
  local a, s = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(a), tonumber(s)
end
local function look(i)
  local lease, journal = KEYS[2 * i - 1], KEYS[2 * i]
  local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)
  local unheld = 1 - redis.call('EXISTS', lease)
  if not last[1] then
    return 3 + unheld
  end
  local attempt, seq = parts(last[1][1])
  local known_attempt, known_seq = parts(ARGV[i])
  if attempt == known_attempt and seq == known_seq then
    return unheld
  elseif attempt > known_attempt or (attempt == known_attempt and seq > known_seq) then
    return 2
  end
  return 3 + unheld
end
local states = {}
for i = 1, #ARGV do
  local done, state = pcall(look, i)
  states[i] = done and state or 4 -- a key of the wrong type costs its own run only
end
return states
