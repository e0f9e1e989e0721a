-- Of some runs: those that have neither a lease nor a job, and have had neither for a while. By Redis's clock.
-- A job that is due and has lost its position in the fair order becomes due by itself, so that the next claim finds it.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases   KEYS[3] prefix of the notes on runs   KEYS[4] prefix of the fair order
-- ARGV[1] how long, ms; 0: now is enough   ARGV[2] time to live of a note, ms
-- ARGV[3] flow of the jobs that the release before has queued
-- then the runs' ids, then the paths of their callers' flows, last the time to live of the fair order, ms
-- Returns their ids.
local count = (#ARGV - 4) / 2
if count == 0 then return {} end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local patience = tonumber(ARGV[1])
local leases = {}
for i = 4, 3 + count do leases[#leases + 1] = KEYS[2] .. ARGV[i] end
local queued = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 4, 3 + count))
local holders = redis.call('MGET', unpack(leases))
local notes, missing = {}, {}
local function is_missing(id)
  local note = KEYS[3] .. id
  if patience == 0 then
    return true
  elseif redis.call('SET', note, now_ms, 'NX', 'PX', ARGV[2]) then
    return false
  elseif now_ms - tonumber(redis.call('GET', note)) < patience then
    return false
  end
  redis.call('DEL', note)
  return true
end
local entered = {}
local function is_placed(path, id)
  if not redis.call('ZSCORE', key('jobs', path), id) then return false end
  if not entered[path] then
    entered[path] = true
    local tenant, caller = parts(path)
    enter(tenant, caller) -- also where a limit was raised, or an end was not counted: the next claim looks again
    enter('', tenant)
  end
  return true
end
for i, lease in ipairs(leases) do
  local id, path = ARGV[3 + i], ARGV[3 + count + i]
  if queued[i] and tonumber(queued[i]) < 0 and not (is_placed(path, id) or is_placed(ARGV[3], id)) then
    redis.call('ZADD', KEYS[1], 'XX', now_ms, id)
  end
  if queued[i] or holders[i] or redis.call('EXISTS', lease) == 1 then
    notes[#notes + 1] = KEYS[3] .. id
  else
    local done, found = pcall(is_missing, id)
    if done and found then missing[#missing + 1] = id end
  end
end
if patience > 0 and #notes > 0 then redis.call('DEL', unpack(notes)) end
return missing
