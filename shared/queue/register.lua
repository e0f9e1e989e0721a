-- Notes that a worker is there, for as long as it says, and forgets those that have not said so in time.
--
-- KEYS[1] workers, a sorted set of ids by when each lapses, in ms of Redis's clock
-- KEYS[2] what the worker says of itself   KEYS[3] workers by when they last said so, in ms
-- KEYS[4] what the worker says of itself, for after it has lapsed
-- ARGV[1] id   ARGV[2] what it says, JSON   ARGV[3] time to live, ms
-- ARGV[4] how long KEYS[3] and KEYS[4] are kept, ms
local now = redis.call('TIME')
local now_ms = math.floor((now[1] * 1e6 + now[2]) / 1000)
local ttl_ms, seen_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ttl_ms)
redis.call('ZADD', KEYS[1], now_ms + ttl_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if redis.call('PTTL', KEYS[1]) < ttl_ms then redis.call('PEXPIRE', KEYS[1], ttl_ms) end
redis.call('SET', KEYS[4], ARGV[2], 'PX', seen_ms)
redis.call('ZADD', KEYS[3], now_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_ms - seen_ms)
redis.call('PEXPIRE', KEYS[3], seen_ms)
