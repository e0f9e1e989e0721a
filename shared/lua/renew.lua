-- Renews leases of one worker, and the time to live of their journals until these have their end.
--
-- A lease that is gone and nobody's is taken again: Redis was emptied, or it ended a moment ago. Where another worker had
-- it in between, the journal and the row refuse what this one writes.
--
-- KEYS[1] queue   then for each run: its lease, its journal, its cancel flag, its followers' flag
-- ARGV[1] lease, ms   ARGV[2] journal's time to live, ms   then for each run: its id, the lease's token
-- Returns for each run the sum of: 1 the lease is held (without it: lost), 2 the run is to be cancelled, 4 somebody
-- follows it, 8 the lease was taken again, and the job's message may be gone.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local states = {}
local function renew(i)
  local lease, journal, cancel, followed = KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i], KEYS[4 * i + 1]
  local id, token = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local holder = redis.call('GET', lease)
  if holder and holder ~= token then
    return 0
  end
  redis.call('SET', lease, token, 'PX', ARGV[1])
  redis.call('ZADD', KEYS[1], now_ms + ARGV[1], id)
  local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)
  if last[1] and last[1][2][1] ~= 'end' then
    redis.call('PEXPIRE', journal, ARGV[2])
  end
  return 1 + 2 * redis.call('EXISTS', cancel) + 4 * redis.call('EXISTS', followed) + (holder and 0 or 8)
end
for i = 1, (#KEYS - 1) / 4 do
  local done, state = pcall(renew, i)
  states[i] = done and state or 0 -- a key of the wrong type costs its own run only
end
return states
