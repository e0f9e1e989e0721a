-- The fair order of the jobs that are due: start-time fair queueing on two levels (Goyal, Vin and Cheng, "Start-time
-- Fair Queueing", SIGCOMM 1996). Tenants share the slots by their weights; callers share those of their tenant by
-- theirs. This text stands in front of each script that uses it: KEYS ends with the prefix of its keys, ARGV with their
-- time to live in ms.
--
-- A flow is a tenant or a caller. Its path is '<tenant>' or '<tenant>:<caller>'; the root's path is ''.
--   flow:<path>   hash: weight; clock, the start tag of the child that was served last; queued, running: counts
--   ready:<path>  sorted set: the children that may be served, by start tag
--   away:<path>   sorted set: the other children, by the start tag that they return with where the clock is not past it
--   jobs:<path>   sorted set: the jobs of a caller, oldest first
--   running       hash: the path of each job that has been claimed and not ended
--
-- Beside the order stands who executes what, so that a loss can be told from a worker's own release:
--   holders         hash: the process that holds each claimed run
--   held:<process>  sorted set: the runs that a process holds; of a lost process those that it held when it was lost
--   losses          hash: how the last attempt of a run was lost: '<company> <times> <process>'. Company is how many
--                   runs its process held, this one among them; 1 is a loss by the run's own fault, 0 one that was not
--                   the run's: the process gave it up. Times is how often it was lost. The process is empty where it
--                   named the run as its fault itself.
--
-- A job in this order is in the queue with a negative score, which sorts by age too. A score from 0 on is the time in
-- ms at which a job is due by itself: the end of a lease, or a job of the release before, which knows no fair order.
local PREFIX, TTL_MS = KEYS[#KEYS], ARGV[#ARGV]
local AGE_OFFSET_MS = 1e13 -- taken from a time in ms, it leaves a negative number until the year 2286

local function key(kind, path) return PREFIX .. kind .. ':' .. path end

local function parts(path) return string.match(path, '^([^:]*):(.*)$') end

-- Makes a child ready, at the start tag that it left with or at the clock, whichever is later. False where it was.
local function enter(parent, child)
  local ready, away = key('ready', parent), key('away', parent)
  local is_ready = redis.call('ZSCORE', ready, child)
  if not is_ready then
    local tag = tonumber(redis.call('ZSCORE', away, child) or 0)
    local clock = tonumber(redis.call('HGET', key('flow', parent), 'clock') or 0)
    redis.call('ZADD', ready, math.max(tag, clock), child)
    redis.call('ZREM', away, child)
  end
  redis.call('PEXPIRE', ready, TTL_MS)
  return not is_ready
end

local function leave(parent, child, tag)
  redis.call('ZREM', key('ready', parent), child)
  redis.call('ZADD', key('away', parent), tag, child)
  redis.call('PEXPIRE', key('away', parent), TTL_MS)
end

-- A flow without a ready child is not ready itself.
local function leave_if_empty(parent, child)
  local tag = redis.call('ZSCORE', key('ready', parent), child)
  if tag and redis.call('ZCARD', key('ready', child)) == 0 then leave(parent, child, tag) end
end

-- Deletes what is kept of a flow that has neither jobs nor runs: there may be many flows in a day.
local function forget_if_idle(path)
  local tenant = parts(path)
  if redis.call('ZCARD', key('jobs', path)) == 0
    and tonumber(redis.call('HGET', key('flow', path), 'running') or 0) <= 0 then
    redis.call('DEL', key('flow', path))
  end
  local counts = redis.call('HMGET', key('flow', tenant), 'queued', 'running')
  if tonumber(counts[1] or 0) <= 0 and tonumber(counts[2] or 0) <= 0 then
    redis.call('DEL', key('flow', tenant), key('ready', tenant), key('away', tenant))
  end
end

local function add_job(path, tenant_weight, caller_weight, id, now_us)
  local tenant, caller = parts(path)
  if redis.call('ZADD', key('jobs', path), 'NX', now_us, id) == 1 then
    redis.call('HINCRBY', key('flow', tenant), 'queued', 1)
  end
  redis.call('HSET', key('flow', tenant), 'weight', tenant_weight)
  redis.call('HSET', key('flow', path), 'weight', caller_weight)
  enter(tenant, caller)
  enter('', tenant)
  for _, kept in ipairs({key('flow', ''), key('flow', tenant), key('flow', path), key('jobs', path)}) do
    redis.call('PEXPIRE', kept, TTL_MS)
  end
end

-- Takes a job out of the order, wherever it stands in it.
local function remove_job(path, id)
  if redis.call('ZREM', key('jobs', path), id) == 0 then return end
  local tenant, caller = parts(path)
  redis.call('HINCRBY', key('flow', tenant), 'queued', -1)
  local tag = redis.call('ZSCORE', key('ready', tenant), caller)
  if tag and redis.call('ZCARD', key('jobs', path)) == 0 then leave(tenant, caller, tag) end
  leave_if_empty('', tenant)
  forget_if_idle(path)
end

-- The process executes the run no more.
local function let_go(id, process)
  if redis.call('HGET', PREFIX .. 'holders', id) == process then redis.call('HDEL', PREFIX .. 'holders', id) end
  redis.call('ZREM', key('held', process), id)
end

-- Notes how an attempt was lost. A run that was lost before by its own or its company's fault stays under suspicion.
local function note_loss(id, company, process)
  local before, times, process_before = string.match(
    redis.call('HGET', PREFIX .. 'losses', id) or '0 0 ', '^(%d+) (%d+) (.*)$')
  if company > 0 then
    times = times + 1
  elseif tonumber(before) > 0 then
    company, process = math.max(tonumber(before), 2), process_before
  end
  local loss = company .. ' ' .. times .. ' ' .. process
  redis.call('HSET', PREFIX .. 'losses', id, loss)
  redis.call('PEXPIRE', PREFIX .. 'losses', TTL_MS)
  return loss
end

-- Counts a run as ended. True where a flow that had reached its limit may be served again.
local function end_run(id)
  local holder = redis.call('HGET', PREFIX .. 'holders', id)
  if holder then let_go(id, holder) end
  redis.call('HDEL', PREFIX .. 'losses', id)
  local path = redis.call('HGET', PREFIX .. 'running', id)
  if not path then return false end
  local tenant, caller = parts(path)
  redis.call('HDEL', PREFIX .. 'running', id)
  redis.call('HINCRBY', key('flow', path), 'running', -1)
  redis.call('HINCRBY', key('flow', tenant), 'running', -1)
  local returned = false
  if redis.call('ZCARD', key('jobs', path)) > 0 then returned = enter(tenant, caller) end
  if redis.call('ZCARD', key('ready', tenant)) > 0 then returned = enter('', tenant) or returned end
  forget_if_idle(path)
  return returned
end
