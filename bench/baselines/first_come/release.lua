-- Baseline: first come, first served, without a fair order.
-- Gives a job up: done for good, or due again now. Only by the holder of the lease.
--
-- KEYS[1] queue   KEYS[2] lease   KEYS[3] job   KEYS[4] tries   KEYS[5] bell
-- ARGV[1] job id  ARGV[2] token   ARGV[3] 'done' or 'again'  ARGV[4] bell's time to live, s
-- Returns 1, or 0 when the lease is another's: then nothing was touched.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
redis.call('DEL', KEYS[2])
if ARGV[3] == 'done' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3], KEYS[4])
else
  local now = redis.call('TIME')
  redis.call('ZADD', KEYS[1], 'XX', now[1] * 1000 + math.floor(now[2] / 1000), ARGV[1])
  redis.call('RPUSH', KEYS[5], '1')
  redis.call('EXPIRE', KEYS[5], ARGV[4])
end
return 1
