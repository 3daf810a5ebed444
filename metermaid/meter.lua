-- meter.lua - several questions in one atomic step, by the server's own clock; op.c says the same.
--
-- KEYS: the keys of all questions, in order.
-- ARGV: number of questions; then for each: mode (0 take, 1 peek, 2 force), number of its keys, and for
-- each key: kind * 3 + over (0 refuses, 1 delays, 2 is noted), cost, and what its kind reads.
-- Returns for each question: index of the key that decided (from 1; 0: none), wait_us, hard (1: refused),
-- bits of the keys beyond their limit, bits of the keys that got their extra tokens.
-- A refused question charges none of its keys, but those that say so (`always`). Every write sets the
-- key's expiry in the same command.
local call, max, min, ceil = redis.call, math.max, math.min, math.ceil
local fmt, match, find, gmatch = string.format, string.match, string.find, string.gmatch
local ARGV, KEYS = ARGV, KEYS
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local a, mode, over = 2, 0, 0
local net -- of the greylist key before: its index, how many passed
local vals, ttls, given

local function num()
	local v = tonumber(ARGV[a])
	a = a + 1
	return v
end

local function whole(v)
	return fmt('%.0f', v)
end

-- Each takes the old value (false: none), the cost and the key's index; returns wait_us, new value, its
-- ttl_us, and whether it is written even when the question is refused.
local kinds = {}

kinds[0] = function(old, cost, i) -- rate
	local interval, tolerance, extra = num(), num(), num()
	local tat = max(tonumber(old or 0) or 0, now) + min(interval * cost, tolerance)
	local wait = tat - now - tolerance
	if wait > 0 then
		tat = min(tat, now + tolerance + interval)
	elseif extra > 0 and mode == 0 and tat + interval * extra <= now + tolerance then
		tat = tat + interval * extra
		given = given + 2 ^ (i - 1)
	end
	return wait, whole(tat), tat - now
end

kinds[1] = function(old, cost) -- penalty
	local interval, tolerance, block, remember, secret = num(), num(), num(), num(), ARGV[a]
	a = a + 1
	local from, ring = match(old or '', '^(%d+)(.*)$')
	from, ring = max(tonumber(from or 0), now), ring or ''
	local known = secret ~= '0' and find(ring, ' ' .. secret .. ' ', 1, true)
	if known then cost = 0 end
	local wait = from + min(interval * cost, tolerance) - now - tolerance
	local tat = min(from + interval * cost, max(from, now + tolerance + block))
	if secret ~= '0' and not known then
		local n, kept = 1, ' ' .. secret .. ' '
		for s in gmatch(ring, '%x+') do
			if n < 6 then kept, n = kept .. s .. ' ', n + 1 end
		end
		ring = kept
	end
	return wait, whole(tat) .. ring, max(tat - now, remember), wait > 0
end

kinds[2] = function(old, cost) -- counter
	local count, period = num(), num()
	local n, ends = match(old or '', '^(%d+) (%d+)$')
	n, ends = tonumber(n or 0), tonumber(ends or 0)
	if ends <= now then n, ends = 0, now + period end
	n = n + min(cost, count)
	return n > count and ends - now or 0, whole(n) .. ' ' .. whole(ends), ends - now
end

kinds[3] = function(old, cost, i) -- a greylist's network
	net = { i = i, n = tonumber(old or 0) or 0 }
	return 0
end

kinds[4] = function(old) -- greylist
	local passes, pause, window, remember = num(), num(), num(), num()
	if passes > 0 and net.n >= passes then
		vals[net.i], ttls[net.i] = whole(net.n), remember
		return 0
	end
	if not old then
		return pause, whole(now + pause), window, true
	end
	local at = tonumber(old)
	if at and now < at then
		return at - now
	end
	if at then
		vals[net.i], ttls[net.i] = whole(net.n + 1), remember
	end
	return 0, 'ok', remember
end

-- "holder=count@expiry;" for each: sum of the others, own count, text of the others, last expiry
local function holders(old, who)
	local others, own, text, last = 0, 0, '', 0
	for o, n, e in gmatch(old or '', '(%x+)=(%d+)@(%d+);') do
		if tonumber(e) > now then
			if o == who then
				own = tonumber(n)
			else
				others, text = others + tonumber(n), text .. o .. '=' .. n .. '@' .. e .. ';'
				last = max(last, tonumber(e))
			end
		end
	end
	return others, own, text, last
end

local function held(who, n, text, last, lease)
	if n > 0 then
		text = text .. who .. '=' .. whole(n) .. '@' .. whole(now + lease) .. ';'
		last = max(last, now + lease)
	end
	return text, last - now
end

kinds[5] = function(old, cost) -- lease
	local count, lease, who = num(), num(), ARGV[a]
	a = a + 1
	local others, own, text, last = holders(old, who)
	local val, ttl = held(who, own + cost, text, last, lease)
	return others + own + cost > count and 1000000 or 0, val, ttl
end

kinds[6] = function(old, cost) -- what a holder has now
	local keep, lease, who = num(), num(), ARGV[a]
	a = a + 1
	local _, own, text, last = holders(old, who)
	local val, ttl = held(who, keep == 1 and max(own, cost) or cost, text, last, lease)
	return 0, val, ttl, true
end

local out, k = {}, 1
for _ = 1, tonumber(ARGV[1]) do
	mode = num()
	local n, hard, hard_wait, soft, soft_wait, overs = num(), 0, 0, 0, 0, 0
	local always = {}
	vals, ttls, given = {}, {}, 0
	for i = 1, n do
		local code, cost = num(), num()
		over = code % 3
		local wait, val, ttl, anyway = kinds[(code - over) / 3](call('GET', KEYS[k + i - 1]), cost, i)
		if val then vals[i], ttls[i], always[i] = val, ttl, anyway end
		if wait > 0 then
			overs = overs + 2 ^ (i - 1)
			if over == 0 then
				if wait > hard_wait then hard, hard_wait = i, wait end
			elseif over == 1 and wait > soft_wait then
				soft, soft_wait = i, wait
			end
		end
	end
	local charged = mode == 2 or (mode == 0 and hard == 0)
	for i, val in pairs(vals) do
		if charged or always[i] then
			if val == '' then
				call('DEL', KEYS[k + i - 1])
			else
				call('SET', KEYS[k + i - 1], val, 'PX', whole(max(ceil(ttls[i] / 1000), 1)))
			end
		end
	end
	out[#out + 1] = hard > 0 and hard or soft
	out[#out + 1] = ceil(hard > 0 and hard_wait or soft_wait)
	out[#out + 1] = hard > 0 and 1 or 0
	out[#out + 1] = overs
	out[#out + 1] = given
	k = k + n
end
return out
