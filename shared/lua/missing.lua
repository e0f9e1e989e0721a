-- Of some runs: those that have neither a lease nor a job, and have had neither for a while. By Redis's clock.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases   KEYS[3] prefix of what is noted here of a run
-- ARGV[1] how long, ms; 0: now is enough   ARGV[2] time to live of a note, ms   then the runs' ids
-- Returns their ids.
if #ARGV < 3 then return {} end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local patience = tonumber(ARGV[1])
local leases = {}
for i = 3, #ARGV do leases[#leases + 1] = KEYS[2] .. ARGV[i] end
local queued = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 3))
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
for i, lease in ipairs(leases) do
  local id = ARGV[2 + i]
  if queued[i] or holders[i] or redis.call('EXISTS', lease) == 1 then
    notes[#notes + 1] = KEYS[3] .. id
  else
    local done, found = pcall(is_missing, id)
    if done and found then missing[#missing + 1] = id end
  end
end
if patience > 0 and #notes > 0 then redis.call('DEL', unpack(notes)) end
return missing
