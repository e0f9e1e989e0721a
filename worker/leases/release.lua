-- Gives a job up: done for good, due again now, due again when its lease ends, or put aside because no run of ours has
-- its id. Only by the holder of the lease. What is put aside is due again after an eighth of its age, and is gone when
-- its message is.
--
-- KEYS[1] queue   KEYS[2] lease   KEYS[3] job   KEYS[4] tries   KEYS[5] bell   KEYS[6] prefix of the fair order
-- ARGV[1] job id   ARGV[2] token   ARGV[3] 'done', 'again', 'later' or 'aside'   ARGV[4] bell's time to live, s
-- ARGV[5] the process that holds it   ARGV[6] company in which its attempt was lost; empty: it was not lost
-- ARGV[7] the process that it was lost with   ARGV[8] a message's time to live, ms
-- ARGV[9] time to live of the fair order, ms
-- Returns 1, or 0 when the lease is over or another's: then the job was not touched.
local holder = redis.call('GET', KEYS[2])
if holder ~= ARGV[2] then
  if not holder and redis.call('HGET', PREFIX .. 'holders', ARGV[1]) == ARGV[5] then
    -- no other process wanted the run; where the process says no more of it, Redis was away
    note_loss(ARGV[1], tonumber(ARGV[6]) or 0, ARGV[7])
  end
  if string.match(holder or '', '^(.*):') ~= ARGV[5] then -- else the process has claimed the run anew
    let_go(ARGV[1], ARGV[5])
  end
  return 0
end
if ARGV[3] ~= 'done' then
  let_go(ARGV[1], ARGV[5])
  if ARGV[6] ~= '' then note_loss(ARGV[1], tonumber(ARGV[6]), ARGV[7]) end
  if ARGV[3] == 'later' then return 1 end
end
redis.call('DEL', KEYS[2])
local rings = true
local left_ms = ARGV[3] == 'aside' and redis.call('PTTL', KEYS[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
if left_ms and left_ms ~= -2 then
  local age_ms = left_ms < 0 and ARGV[8] or ARGV[8] - left_ms
  redis.call('ZADD', KEYS[1], 'XX', now_ms + math.max(1000, math.floor(age_ms / 8)), ARGV[1])
  rings = end_run(ARGV[1])
elseif ARGV[3] ~= 'again' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3], KEYS[4])
  rings = end_run(ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'XX', now_ms, ARGV[1])
end
if rings then
  redis.call('RPUSH', KEYS[5], '1')
  redis.call('EXPIRE', KEYS[5], ARGV[4])
end
return 1
