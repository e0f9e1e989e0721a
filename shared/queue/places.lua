-- The places of requests that may become runs: each counts as a queued run until it is one, so that no two requests are
-- let in on the same room. This text stands behind fair.lua, in front of the scripts that use it: their KEYS and ARGV
-- end as that says.
--
--   admitting  sorted set: the places by when they lapse, in ms; a place is '<path of the caller's flow>:<id>'
local PLACES = PREFIX .. 'admitting'

local function take_place(place, now_ms, lapse_ms)
  redis.call('ZADD', PLACES, now_ms + lapse_ms, place)
  redis.call('PEXPIRE', PLACES, lapse_ms)
end

local function give_back(place) redis.call('ZREM', PLACES, place) end

-- The flows with a job or a place: how many, and whether the one that is asked for is among them.
local function siblings(parent, child, newcomers)
  local count = redis.call('ZCARD', key('ready', parent))
  for newcomer in pairs(newcomers) do
    if not redis.call('ZSCORE', key('ready', parent), newcomer) then count = count + 1 end
  end
  local is_in = newcomers[child] or redis.call('ZSCORE', key('ready', parent), child)
  return is_in and count - 1 or count
end

-- What a caller and its tenant hold of the queue, jobs and places, and how many others of their kind do.
local function held(path)
  local tenant, caller = parts(path)
  local of_tenant = tonumber(redis.call('HGET', key('flow', tenant), 'queued') or 0)
  local of_caller = redis.call('ZCARD', key('jobs', path))
  local tenants, callers = {}, {}
  for _, place in ipairs(redis.call('ZRANGE', PLACES, 0, -1)) do
    local its_tenant, its_caller = string.match(place, '^([^:]*):([^:]*):')
    tenants[its_tenant] = true
    if its_tenant == tenant then
      callers[its_caller] = true
      of_tenant = of_tenant + 1
      if its_caller == caller then of_caller = of_caller + 1 end
    end
  end
  return of_tenant, siblings('', tenant, tenants), of_caller, siblings(tenant, caller, callers)
end
