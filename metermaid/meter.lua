-- meter.lua - several questions in one atomic step, by the server's own clock.
--
-- KEYS: the keys of all questions, in order.
-- ARGV: number of questions; then for each: mode (0 take, 1 peek, 2 force), number of its keys, and for
-- each key: interval_us, tolerance_us, cost, soft (1: beyond the limit it only delays).
-- Returns for each question: index of the key that decided (from 1; 0: none), wait_us, hard (1: refused).
-- A refused question charges none of its keys. Every write sets the key's expiry in the same command.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local out, a, k = {}, 2, 1
for _ = 1, tonumber(ARGV[1]) do
	local mode, n = tonumber(ARGV[a]), tonumber(ARGV[a + 1])
	local first, hard, hard_wait, soft, soft_wait = a + 2, 0, 0, 0, 0
	local tats = {}
	for i = 1, n do
		local at = first + (i - 1) * 4
		local interval, tolerance = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
		local cost = math.min(interval * tonumber(ARGV[at + 2]), tolerance)
		local tat = math.max(tonumber(redis.call('GET', KEYS[k + i - 1]) or 0) or 0, now) + cost
		local wait = tat - now - tolerance
		tats[i] = tat
		if wait > 0 then
			if mode == 2 then tats[i] = math.min(tat, now + tolerance + interval) end
			if ARGV[at + 3] == '1' then
				if wait > soft_wait then soft, soft_wait = i, wait end
				tats[i] = math.min(tat, now + tolerance + interval)
			elseif wait > hard_wait then
				hard, hard_wait = i, wait
			end
		end
	end
	if mode == 2 or (mode == 0 and hard == 0) then
		for i = 1, n do
			local left = math.ceil((tats[i] - now) / 1000)
			redis.call('SET', KEYS[k + i - 1], string.format('%.0f', tats[i]), 'PX', math.max(left, 1))
		end
	end
	out[#out + 1] = hard > 0 and hard or soft
	out[#out + 1] = math.ceil(hard > 0 and hard_wait or soft_wait)
	out[#out + 1] = hard > 0 and 1 or 0
	a, k = first + n * 4, k + n
end
return out
