-- Lets a request in, or says how long to wait: the generic cell rate algorithm, by Redis's clock, for the caller and
-- for its tenant. A request that one of the two refuses is charged to neither. One that is let in takes a place in the
-- queue, where there is room, before it is known whether it becomes a run.
--
-- KEYS[1] the caller's rate   KEYS[2] the tenant's   KEYS[3] queue   KEYS[4] prefix of the fair order
-- ARGV[1] requests a minute of the caller, 0: no limit   ARGV[2] of them at once
-- ARGV[3], ARGV[4] the same of the tenant
-- ARGV[5] path of the caller's flow   ARGV[6] its tenant's weight   ARGV[7] its own
-- ARGV[8] queued runs beyond which callers are refused that hold their share   ARGV[9] queued runs of the tenant
-- both 0: no limit   ARGV[10] the place   ARGV[11] when it lapses unless it is given back, ms from now
-- then places that are given back, last the time to live of the fair order, ms
-- A rate's key holds its theoretical arrival time (tat): when the next request is due at that rate, ms.
-- Returns {ms that the caller has to wait, 0: none; ms that the tenant has to wait; ROOM, QUEUE_FULL or TENANT_FULL}.
local ROOM, QUEUE_FULL, TENANT_FULL = 0, 1, 2
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local function look(rate, limit, at_once)
  if limit == 0 then return 0 end
  local interval = 60000 / limit
  local ahead = math.max(0, tonumber(redis.call('GET', rate) or now_ms) - now_ms)
  -- half a millisecond is nothing: times of this size are not exact
  return math.max(0, math.ceil(ahead + interval - at_once * interval - 0.5)), now_ms + ahead + interval
end
local caller_wait, caller_tat = look(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))
local tenant_wait, tenant_tat = look(KEYS[2], tonumber(ARGV[3]), tonumber(ARGV[4]))
local function charge(rate, tat)
  if tat then
    redis.call('SET', rate, string.format('%.3f', tat), 'PX', math.max(1, math.ceil(tat - now_ms)))
  end
end

-- The part of the whole that a flow may hold beside so many others, each of weight 1.
local function share(whole, weight, others) return whole * weight / (weight + others) end

local function room()
  local max_depth, max_of_tenant = tonumber(ARGV[8]), tonumber(ARGV[9])
  local depth = redis.call('ZCOUNT', KEYS[3], '-inf', now_ms) + redis.call('ZCARD', PLACES)
  local is_full = max_depth > 0 and depth >= max_depth
  if not is_full and max_of_tenant == 0 then return ROOM end
  local of_tenant, tenants, of_caller, callers = held(ARGV[5])
  if max_of_tenant > 0 and of_tenant >= max_of_tenant then return TENANT_FULL end
  local of_tenants_share = share(max_depth, tonumber(ARGV[6]), tenants)
  local of_callers_share = share(of_tenants_share, tonumber(ARGV[7]), callers)
  if is_full and of_tenant >= math.ceil(of_tenants_share) and of_caller >= math.ceil(of_callers_share) then
    return QUEUE_FULL
  end
  return ROOM
end

local is_limited = ARGV[8] ~= '0' or ARGV[9] ~= '0'
local found = ROOM
if is_limited then
  redis.call('ZREMRANGEBYSCORE', PLACES, '-inf', now_ms)
  for i = 12, #ARGV - 1 do give_back(ARGV[i]) end
end
if caller_wait == 0 and tenant_wait == 0 then
  charge(KEYS[1], caller_tat)
  charge(KEYS[2], tenant_tat)
  if is_limited then
    found = room()
    if found == ROOM then take_place(ARGV[10], now_ms, tonumber(ARGV[11])) end
  end
end
return {caller_wait, tenant_wait, found}
