-- Lets a caller's request in, or says how long to wait: the generic cell rate algorithm, by Redis's clock.
--
-- KEYS[1] the caller's rate   KEYS[2] queue
-- ARGV[1] requests a minute, 0: no limit   ARGV[2] of them at once
-- Returns {ms to wait, 0: the request may pass; jobs that are due and that nobody has}.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local wait = 0
local limit = tonumber(ARGV[1])
if limit > 0 then
  local interval = 60000 / limit
  local spoken = math.max(tonumber(redis.call('GET', KEYS[1]) or now_ms), now_ms) + interval
  wait = math.max(0, math.ceil(spoken - tonumber(ARGV[2]) * interval - now_ms))
  if wait == 0 then
    redis.call('SET', KEYS[1], string.format('%.3f', spoken), 'PX', math.max(1, math.ceil(spoken - now_ms)))
  end
end
return {wait, redis.call('ZCOUNT', KEYS[2], '-inf', now_ms)}
