-- Lets a request in, or says how long to wait: the generic cell rate algorithm, by Redis's clock, for the caller and for
-- its tenant. A request that one of the two refuses is charged to neither.
--
-- KEYS[1] the caller's rate   KEYS[2] the tenant's   KEYS[3] queue   KEYS[4] prefix of the fair order
-- ARGV[1] requests a minute of the caller, 0: no limit   ARGV[2] of them at once   ARGV[3], ARGV[4] the same of the tenant
-- ARGV[5] path of the caller's flow   ARGV[6] time to live of the fair order, ms
-- Returns {ms that the caller has to wait, 0: none; ms that the tenant has to wait; jobs that are due and unclaimed;
-- of these the tenant's, and tenants with such jobs; the caller's, and callers of the tenant with such jobs}.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local function look(rate, limit, at_once)
  if limit == 0 then return 0 end
  local interval = 60000 / limit
  local arrival = math.max(tonumber(redis.call('GET', rate) or now_ms), now_ms) + interval
  return math.max(0, math.ceil(arrival - at_once * interval - now_ms)), arrival
end
local caller_wait, caller_arrival = look(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))
local tenant_wait, tenant_arrival = look(KEYS[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
local function charge(rate, arrival)
  if arrival then
    redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.max(1, math.ceil(arrival - now_ms)))
  end
end
if caller_wait == 0 and tenant_wait == 0 then
  charge(KEYS[1], caller_arrival)
  charge(KEYS[2], tenant_arrival)
end
local tenant = parts(ARGV[5])
return {
  caller_wait,
  tenant_wait,
  redis.call('ZCOUNT', KEYS[3], '-inf', now_ms),
  tonumber(redis.call('HGET', key('flow', tenant), 'queued') or 0),
  redis.call('ZCARD', key('ready', '')),
  redis.call('ZCARD', key('jobs', ARGV[5])),
  redis.call('ZCARD', key('ready', tenant)),
}
