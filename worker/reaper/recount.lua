-- Ends the count of runs that have neither a job nor a lease: a worker of the release before has ended them, which
-- knows nothing of the count. Looks at one part of the runs.
--
-- KEYS[1] queue   KEYS[2] prefix of the leases   KEYS[3] bell   KEYS[4] prefix of the fair order
-- ARGV[1] HSCAN cursor   ARGV[2] about how many runs to look at   ARGV[3] bell's time to live, s
-- ARGV[4] time to live of the fair order, ms
-- Returns {cursor of the next part, '0' after the last; how many counts were ended}.
local cursor, found = unpack(redis.call('HSCAN', PREFIX .. 'running', ARGV[1], 'COUNT', ARGV[2]))
local ended = 0
for i = 1, #found, 2 do
  local id = found[i]
  if not redis.call('ZSCORE', KEYS[1], id) and redis.call('EXISTS', KEYS[2] .. id) == 0 then
    if end_run(id) then
      redis.call('RPUSH', KEYS[3], '1')
      redis.call('EXPIRE', KEYS[3], ARGV[3])
    end
    ended = ended + 1
  end
end
return {cursor, ended}
