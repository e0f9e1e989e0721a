-- Baseline: first come, first served, without a fair order.
-- Makes a run due now and rings the bell. Safe to repeat: a job that is there is left as it is.
--
-- KEYS[1] queue   KEYS[2] job   KEYS[3] bell
-- ARGV[1] job id  ARGV[2] job message  ARGV[3] message's time to live, ms  ARGV[4] bell's time to live, s
-- Returns 1 if the job was not queued before, else 0.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local added = redis.call('ZADD', KEYS[1], 'NX', now_ms, ARGV[1])
redis.call('RPUSH', KEYS[3], '1')
redis.call('LTRIM', KEYS[3], -1000, -1)
redis.call('EXPIRE', KEYS[3], ARGV[4])
return added
