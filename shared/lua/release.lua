-- Gives a job up: done for good, due again now, or put aside because no run of ours has its id. Only by the holder of
-- the lease. What is put aside is due again after an eighth of its age, and is gone when its message is.
--
-- KEYS[1] queue   KEYS[2] lease   KEYS[3] job   KEYS[4] tries   KEYS[5] bell   KEYS[6] prefix of the fair order
-- ARGV[1] job id   ARGV[2] token   ARGV[3] 'done', 'again' or 'aside'   ARGV[4] bell's time to live, s
-- ARGV[5] a message's time to live, ms   ARGV[6] that of the fair order, ms
-- Returns 1, or 0 when the lease is another's: then nothing was touched.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[2])
local rings = true
local left_ms = ARGV[3] == 'aside' and redis.call('PTTL', KEYS[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
if left_ms and left_ms ~= -2 then
  local age_ms = left_ms < 0 and ARGV[5] or ARGV[5] - left_ms
  redis.call('ZADD', KEYS[1], 'XX', now_ms + math.max(1000, math.floor(age_ms / 8)), ARGV[1])
  rings = end_run(ARGV[1])
elseif ARGV[3] ~= 'again' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3], KEYS[4])
  rings = end_run(ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now_ms, ARGV[1])
end
if rings then
  redis.call('RPUSH', KEYS[5], '1')
  redis.call('EXPIRE', KEYS[5], ARGV[4])
end
return 1
