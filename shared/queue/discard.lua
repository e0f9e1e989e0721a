-- Takes a job off the queue and out of the fair order: its run has ended, and no worker holds it.
--
-- KEYS[1] queue   KEYS[2] job   KEYS[3] tries   KEYS[4] bell   KEYS[5] prefix of the fair order
-- ARGV[1] job id   ARGV[2] path of its caller's flow   ARGV[3] bell's time to live, s
-- ARGV[4] time to live of the fair order, ms
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
remove_job(ARGV[2], ARGV[1])
if end_run(ARGV[1]) then
  redis.call('RPUSH', KEYS[4], '1')
  redis.call('EXPIRE', KEYS[4], ARGV[3])
end
