-- Renews leases of one worker, and the time to live of their journals until these have their end.
--
-- A lease that is gone, and that no other worker has, is taken again: Redis was emptied, or it ended a moment ago.
-- Where another worker had it in between, the journal and the row refuse what this one writes. A journal's time is put
-- back only when a lease's length of it has gone, because to look whether it has its end costs more than all else here.
--
-- KEYS[1] queue   then the leases of all runs, their journals, their cancel flags, their followers' flags
-- ARGV[1] lease, ms   ARGV[2] journal's time to live, ms   then the ids of all runs, then the leases' tokens
-- Returns for each run the sum of: 1 the lease is held (without it: lost), 2 the run is to be cancelled, 4 a client
-- follows it, 8 the lease was taken again, and the job's message may be gone.
local count = (#KEYS - 1) / 4
if count == 0 then return {} end
local now = redis.call('TIME')
local due_ms = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[1]
local function of_all(command, group)
  return redis.call(command, unpack(KEYS, 2 + group * count, 1 + (group + 1) * count))
end
local holders, cancels, followers = of_all('MGET', 0), of_all('MGET', 2), of_all('MGET', 3)
local states, due = {}, {}
local function renew(i)
  local lease, journal = KEYS[1 + i], KEYS[1 + count + i]
  local id, token = ARGV[2 + i], ARGV[2 + count + i]
  if holders[i] == token then
    redis.call('PEXPIRE', lease, ARGV[1])
  elseif holders[i] then
    return 0
  else
    redis.call('SET', lease, token, 'PX', ARGV[1])
  end
  due[#due + 1] = due_ms
  due[#due + 1] = id
  local left_ms = redis.call('PTTL', journal)
  if left_ms == -1 or left_ms >= 0 and left_ms <= ARGV[2] - ARGV[1] then
    local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)
    if last[1] and last[1][2][1] ~= 'end' then
      redis.call('PEXPIRE', journal, ARGV[2])
    end
  end
  return 1 + (cancels[i] and 2 or 0) + (followers[i] and 4 or 0) + (holders[i] and 0 or 8)
end
for i = 1, count do
  local done, state = pcall(renew, i)
  states[i] = done and state or 0 -- a key of the wrong type costs its own run only
end
if #due > 0 then redis.call('ZADD', KEYS[1], unpack(due)) end
return states
