-- Lets a caller spend a number of bytes, or says how long to wait: the generic cell rate algorithm, by Redis's clock.
--
-- KEYS[1] the caller's bytes
-- ARGV[1] bytes a minute   ARGV[2] of them at once   ARGV[3] bytes to spend
-- The key holds the theoretical arrival time (tat) of the next byte, ms.
-- Returns the ms to wait; 0: they are spent. More bytes than may come at once pass where nothing is left to pay for,
-- because they could never pass otherwise. Half a millisecond is nothing: times of this size are not exact.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local ms_of_a_byte = 60000 / tonumber(ARGV[1])
local cost = tonumber(ARGV[3]) * ms_of_a_byte
local at_once = math.max(tonumber(ARGV[2]) * ms_of_a_byte, cost)
local ahead = math.max(0, tonumber(redis.call('GET', KEYS[1]) or now_ms) - now_ms)
local wait = math.max(0, math.ceil(ahead + cost - at_once - 0.5))
local tat = now_ms + ahead + cost
if wait == 0 then
  redis.call('SET', KEYS[1], string.format('%.3f', tat), 'PX', math.max(1, math.ceil(tat - now_ms)))
end
return wait
