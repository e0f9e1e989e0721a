-- Makes a run due now. One that a worker holds stays with it, or its lease is taken away: it is due again when the
-- lease that stands in its place has ended, by which time the worker has found that its own is lost, and claims it no
-- more.
--
-- KEYS[1] queue   KEYS[2] lease   KEYS[3] job   KEYS[4] bell   KEYS[5] prefix of the fair order
-- ARGV[1] job id   ARGV[2] job message   ARGV[3] message's time to live, ms   ARGV[4] bell's time to live, s
-- ARGV[5] path of the caller's flow   ARGV[6] its tenant's weight   ARGV[7] its own
-- ARGV[8] how long the lease that is taken away is kept from others, ms; 0: it is not taken   ARGV[9] token meanwhile
-- ARGV[10] time to live of the fair order, ms
-- Returns what was done, and the token of the lease: 'held' nothing, 'taken' the lease was taken away, 'queued' the run
-- had no job and has one now, 'due' its job is due now.
local now = redis.call('TIME')
local now_us = now[1] * 1e6 + now[2]
local now_ms = math.floor(now_us / 1000)
local id, kept_ms = ARGV[1], tonumber(ARGV[8])
local holder = redis.call('GET', KEYS[2])
if holder and kept_ms == 0 then return {'held', holder} end
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
if holder then
  redis.call('SET', KEYS[2], ARGV[9], 'PX', kept_ms)
  redis.call('ZADD', KEYS[1], now_ms + kept_ms, id)
  return {'taken', holder}
end
local score = redis.call('ZSCORE', KEYS[1], id)
if redis.call('HEXISTS', PREFIX .. 'running', id) == 1 then -- a lost one: it goes before the order
  if not score or tonumber(score) > now_ms then redis.call('ZADD', KEYS[1], now_ms, id) end
else
  if not score or tonumber(score) >= 0 then redis.call('ZADD', KEYS[1], now_ms - AGE_OFFSET_MS, id) end
  add_job(ARGV[5], ARGV[6], ARGV[7], id, now_us)
end
redis.call('RPUSH', KEYS[4], '1')
redis.call('LTRIM', KEYS[4], -1000, -1)
redis.call('EXPIRE', KEYS[4], ARGV[4])
return {score and 'due' or 'queued', ''}
