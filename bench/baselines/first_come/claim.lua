-- Baseline: first come, first served, without a fair order.
-- Takes up to ARGV[1] due jobs: a lease on each, and its score moved to the lease's end, so that no other
-- poller sees it before then. Redis's clock, never the worker's.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases
-- ARGV[1] free slots   ARGV[2] lease, ms   ARGV[3] token, unlike that of any other claim
-- Returns the ids taken.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])) do
  local lease = KEYS[2] .. id
  if redis.call('SET', lease, ARGV[3], 'NX', 'PX', ARGV[2]) then
    redis.call('ZADD', KEYS[1], 'XX', now_ms + ARGV[2], id)
    taken[#taken + 1] = id
  else
    redis.call('ZADD', KEYS[1], 'XX', now_ms + math.max(redis.call('PTTL', lease), 1), id)
  end
end
return taken
