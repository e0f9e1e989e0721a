-- Of some runs: those that have neither a lease nor a job, and have had neither for a while. By Redis's clock.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases   KEYS[3] prefix of what is noted here of a run
-- ARGV[1] how long, ms; 0: now is enough   ARGV[2] time to live of a note, ms   then the runs' ids
-- Returns their ids.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local patience = tonumber(ARGV[1])
local function is_missing(id)
  local note = KEYS[3] .. id
  if redis.call('ZSCORE', KEYS[1], id) or redis.call('EXISTS', KEYS[2] .. id) == 1 then
    if patience > 0 then redis.call('DEL', note) end
    return false
  elseif patience == 0 then
    return true
  elseif redis.call('SET', note, now_ms, 'NX', 'PX', ARGV[2]) then
    return false
  elseif now_ms - tonumber(redis.call('GET', note)) < patience then
    return false
  end
  redis.call('DEL', note)
  return true
end
local missing = {}
for i = 3, #ARGV do
  local done, found = pcall(is_missing, ARGV[i])
  if done and found then missing[#missing + 1] = ARGV[i] end
end
return missing
