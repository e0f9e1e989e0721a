-- Gives places in the queue back: their requests have become no runs.
--
-- KEYS[1] prefix of the fair order
-- ARGV the places, last the time to live of the fair order, ms
for i = 1, #ARGV - 1 do give_back(ARGV[i]) end
