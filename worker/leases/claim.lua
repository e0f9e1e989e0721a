-- Takes up to ARGV[1] due jobs: a lease on each, and its score moved to the lease's end, so that no other poller sees
-- it before then. Jobs whose lease has ended and jobs that were handed back come first: their runs have begun. Then the
-- fair order decides. Redis's clock, never the worker's.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases   KEYS[3] bell   KEYS[4] prefix of the fair order
-- ARGV[1] free slots   ARGV[2] lease, ms   ARGV[3] token, unlike that of any other claim
-- ARGV[4] runs of one tenant at once   ARGV[5] runs of one caller at once; both times the flow's weight, 0: no limit
-- ARGV[6] flow of the jobs that the release before has queued   ARGV[7] bell's time to live, s
-- ARGV[8] the process that claims; empty: nothing is noted of it   ARGV[9] how a run's id begins
-- ARGV[10] time to live of the fair order, ms
-- Returns {ids taken, up to 100 ids that are due and no run's: another application's jobs, which stay as they are, and
-- of each taken id whose last attempt was lost {id, how, for how long its lease has been over, ms}}. Runs that one
-- process lost together carry the same company.
local LOOKED_AT = 1000 -- entries of the order that one call looks at: what it cannot serve must not hold up Redis
local now = redis.call('TIME')
local now_us = now[1] * 1e6 + now[2]
local now_ms = math.floor(now_us / 1000)
local free, lease_ms, token = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local limits = {tonumber(ARGV[4]), tonumber(ARGV[5])}
local process = ARGV[8]
local taken, foreign, losses = {}, {}, {}

local function take(id)
  if redis.call('SET', KEYS[2] .. id, token, 'NX', 'PX', lease_ms) then
    redis.call('ZADD', KEYS[1], 'XX', now_ms + lease_ms, id)
    if process ~= '' then
      redis.call('HSET', PREFIX .. 'holders', id, process)
      redis.call('ZADD', key('held', process), 0, id)
    else
      redis.call('HDEL', PREFIX .. 'holders', id)
    end
    taken[#taken + 1] = id
    return true
  end
  redis.call('ZADD', KEYS[1], 'XX', now_ms + math.max(redis.call('PTTL', KEYS[2] .. id), 1), id)
  return false
end

-- Takes a job whose run has begun, and tells how its last attempt was lost, where that is known.
local function take_again(id)
  local holder, due_ms = redis.call('HGET', PREFIX .. 'holders', id), redis.call('ZSCORE', KEYS[1], id)
  if not take(id) then return end
  local loss
  if not holder then
    loss = redis.call('HGET', PREFIX .. 'losses', id)
  elseif holder == process then -- it slept through its lease, and no other process wanted the run
    loss = note_loss(id, 0, '')
  else
    loss = note_loss(id, math.max(1, redis.call('ZCARD', key('held', holder))), holder)
  end
  if loss then
    losses[#losses + 1] = {id, loss, math.max(0, now_ms - math.floor(tonumber(due_ms)))}
  end
end

local function is_foreign(id)
  return #id > 128 or string.sub(id, 1, #ARGV[9]) ~= ARGV[9] or not string.find(id, '^[%w%p]+$')
end

local function look_at(id)
  if string.find(id, '^reaper:%d+$') then
    redis.call('ZREM', KEYS[1], id) -- of the release before, whose reaper was a job
  elseif is_foreign(id) then
    if #foreign < 100 then foreign[#foreign + 1] = id end
    return 1
  elseif redis.call('HEXISTS', PREFIX .. 'running', id) == 1 then
    if #taken < free then take_again(id) end
  elseif redis.call('EXISTS', KEYS[2] .. id) == 1 then
    take(id) -- which moves its score: a worker of the release before has it
  else
    redis.call('ZADD', KEYS[1], 'XX', now_ms - AGE_OFFSET_MS, id)
    add_job(ARGV[6], 1, 1, id, now_us)
  end
  return 0
end

local passed, batch = 0, math.max(free, 100)
repeat
  local due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now_ms, 'LIMIT', passed, batch)
  local passed_before = passed
  for _, id in ipairs(due) do passed = passed + look_at(id) end
until #due < batch or passed == passed_before or #taken >= free or passed >= LOOKED_AT
if passed >= LOOKED_AT then -- ours may be behind the others' too
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], now_ms, 0, 'BYSCORE', 'REV', 'LIMIT', 0, batch)) do look_at(id) end
end

local function is_at_limit(flow, limit)
  if limit == 0 then return false end
  return tonumber(flow.running) >= math.ceil(limit * flow.weight)
end

local function flow_of(path)
  local found = redis.call('HMGET', key('flow', path), 'weight', 'running')
  return {weight = tonumber(found[1] or 1), running = tonumber(found[2] or 0)}
end

-- The child that was served at `tag` leaves, or is ready again one run later.
local function charge(parent, child, tag, weight, is_ready)
  local next_tag = tag + 1 / weight
  if is_ready then
    redis.call('ZADD', key('ready', parent), next_tag, child)
  else
    leave(parent, child, next_tag)
  end
  redis.call('HSET', key('flow', parent), 'clock', tag)
  redis.call('ZREMRANGEBYSCORE', key('away', parent), '-inf', tag)
end

-- Looks at the first caller of the first tenant, and takes its oldest job. False where no tenant is ready.
local function serve()
  local tenant, tenant_tag = unpack(redis.call('ZRANGE', key('ready', ''), 0, 0, 'WITHSCORES'))
  if not tenant then return false end
  local tenant_flow = flow_of(tenant)
  local caller, caller_tag = unpack(redis.call('ZRANGE', key('ready', tenant), 0, 0, 'WITHSCORES'))
  if not caller or is_at_limit(tenant_flow, limits[1]) then
    leave('', tenant, tenant_tag)
    return true
  end
  local path = tenant .. ':' .. caller
  local caller_flow = flow_of(path)
  local id = not is_at_limit(caller_flow, limits[2]) and redis.call('ZRANGE', key('jobs', path), 0, 0)[1]
  if not id then
    leave(tenant, caller, caller_tag)
    leave_if_empty('', tenant)
    return true
  end
  local score = redis.call('ZSCORE', KEYS[1], id)
  if not score or tonumber(score) >= 0 or not take(id) then
    remove_job(path, id) -- a worker of the release before has it, or has ended it
    return true
  end
  redis.call('ZREM', key('jobs', path), id)
  redis.call('HINCRBY', key('flow', tenant), 'queued', -1)
  redis.call('HSET', PREFIX .. 'running', id, path)
  redis.call('HINCRBY', key('flow', tenant), 'running', 1)
  redis.call('HINCRBY', key('flow', path), 'running', 1)
  charge(tenant, caller, tonumber(caller_tag), caller_flow.weight, redis.call('ZCARD', key('jobs', path)) > 0)
  charge('', tenant, tonumber(tenant_tag), tenant_flow.weight, redis.call('ZCARD', key('ready', tenant)) > 0)
  return true
end

local looked_at = 0
while #taken < free and looked_at < LOOKED_AT and serve() do looked_at = looked_at + 1 end
if looked_at > 0 then
  redis.call('PEXPIRE', PREFIX .. 'running', TTL_MS)
  redis.call('PEXPIRE', key('flow', ''), TTL_MS)
end
if #taken > 0 and process ~= '' then
  redis.call('PEXPIRE', PREFIX .. 'holders', TTL_MS)
  redis.call('PEXPIRE', key('held', process), TTL_MS)
end
if looked_at == LOOKED_AT then -- there may be more: an idle worker is not to wait for its next poll
  redis.call('RPUSH', KEYS[3], '1')
  redis.call('EXPIRE', KEYS[3], ARGV[7])
end
return {taken, foreign, losses}
