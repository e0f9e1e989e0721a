-- Writes, in the way of the other scripts: two keys in one, and a command of Redis 6.2. What writes into these keys for
-- another database is told; its note ends by itself.
--
-- KEYS[1] note of whose the keys are   KEYS[2] queue
-- ARGV[1] identity of the database   ARGV[2] the note's time to live, ms
-- Returns whether the keys are this database's: 1, or 0 where another has noted that they are its own.
redis.call('ZMSCORE', KEYS[2], '')
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), 1)) -- a write all the same
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
