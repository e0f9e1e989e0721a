-- Renews all leases of one worker, and the time to live of their journals until these have their end.
--
-- KEYS[1] queue   then for each run: its lease, its journal, its cancel flag
-- ARGV[1] lease, ms   ARGV[2] journal's time to live, ms   then for each run: its id, the lease's token
-- Returns for each run: 0 the lease is lost, 1 renewed, 2 renewed and to be cancelled.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local states = {}
for i = 1, (#KEYS - 1) / 3 do
  local lease, journal, cancel = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local id, token = ARGV[2 * i + 1], ARGV[2 * i + 2]
  if redis.call('GET', lease) == token then
    redis.call('PEXPIRE', lease, ARGV[1])
    redis.call('ZADD', KEYS[1], 'XX', now_ms + ARGV[1], id)
    local last = redis.call('XREVRANGE', journal, '+', '-', 'COUNT', 1)
    if last[1] and last[1][2][1] ~= 'end' then
      redis.call('PEXPIRE', journal, ARGV[2])
    end
    states[i] = redis.call('EXISTS', cancel) == 1 and 2 or 1
  else
    states[i] = 0
  end
end
return states
