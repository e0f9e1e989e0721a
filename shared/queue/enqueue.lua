-- Makes a run due now, in the fair order, in the place that its request has taken, and rings the bell. Safe to repeat:
-- a job that is there is left as it is.
--
-- KEYS[1] queue   KEYS[2] job   KEYS[3] bell   KEYS[4] prefix of the fair order
-- ARGV[1] job id   ARGV[2] job message   ARGV[3] message's time to live, ms   ARGV[4] bell's time to live, s
-- ARGV[5] path of the caller's flow   ARGV[6] its tenant's weight   ARGV[7] its own   ARGV[8] the place, or ''
-- ARGV[9] order's time to live, ms
-- Returns 1 if the job was not queued before, else 0.
local now = redis.call('TIME')
local now_us = now[1] * 1e6 + now[2]
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local added = redis.call('ZADD', KEYS[1], 'NX', math.floor(now_us / 1000) - AGE_OFFSET_MS, ARGV[1])
if ARGV[8] ~= '' then give_back(ARGV[8]) end
if added == 1 then add_job(ARGV[5], ARGV[6], ARGV[7], ARGV[1], now_us) end
redis.call('RPUSH', KEYS[3], '1')
redis.call('LTRIM', KEYS[3], -1000, -1)
redis.call('EXPIRE', KEYS[3], ARGV[4])
return added
