-- meter.lua - several questions in one atomic step, by the server's own clock; op.c says the same.
--
-- KEYS: the keys of all questions, in order.
-- ARGV: number of questions; then for each: mode (0 take, 1 peek, 2 force), number of its keys, and for
-- each key: kind * 3 + over (0 refuses, 1 delays, 2 is noted), cost, and what its kind reads.
-- Returns for each question: index of the key that decided (from 1; 0: none), wait_us, hard (1: refused),
-- bits of the keys beyond their limit, bits of the keys that got their extra tokens.
-- A refused question charges none of its keys, but those that say so (`always`). Every write sets the
-- key's expiry in the same command.
--
-- Values are read in one command and written once each at the end: questions of a batch often meet at a key.
local call, max, min, ceil = redis.call, math.max, math.min, math.ceil
local fmt, match, find, gmatch = string.format, string.match, string.find, string.gmatch
local ARGV, KEYS, tonumber = ARGV, KEYS, tonumber
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local a, mode = 2, 0 -- the next argument; of the question
local vals, ttls, always -- of the question's keys, to be written if it is charged

local function num()
	local v = tonumber(ARGV[a])
	a = a + 1
	return v
end

local function whole(v)
	return fmt('%.0f', v)
end

-- Kinds other than rate, made when the first is met: each takes the old value (false: none), the cost and
-- the key's index; returns wait_us, new value, its ttl_us, and whether it is written even when the question
-- is refused.
local kinds
local function make_kinds()
local net -- of the greylist key before: its index, how many passed
kinds = {}

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

end

local new, left = {}, {} -- by key: what the batch leaves there
local had = call('MGET', unpack(KEYS))
local old = {}
for i = 1, #KEYS do old[KEYS[i]] = had[i] end

local out, k = {}, 0
for _ = 1, tonumber(ARGV[1]) do
	mode = num()
	local n, hard, hard_wait, soft, soft_wait, overs, given = num(), 0, 0, 0, 0, 0, 0
	vals, ttls, always = {}, {}, nil
	for i = 1, n do
		local code, cost, value, wait = num(), num(), old[KEYS[k + i]], 0
		if code < 3 then -- rate
			local interval, tolerance, extra = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), ARGV[a + 2]
			a = a + 3
			local tat = max(value and tonumber(value) or 0, now) + min(interval * cost, tolerance)
			wait = tat - now - tolerance
			if wait > 0 then
				tat = min(tat, now + tolerance + interval)
			elseif extra ~= '0' and mode == 0 then
				local more = tat + interval * tonumber(extra)
				if more <= now + tolerance then tat, given = more, given + 2 ^ (i - 1) end
			end
			vals[i], ttls[i] = whole(tat), tat - now
		else
			if not kinds then make_kinds() end
			local val, ttl, anyway
			wait, val, ttl, anyway = kinds[(code - code % 3) / 3](value, cost, i)
			if val then vals[i], ttls[i] = val, ttl end
			if anyway then
				always = always or {}
				always[i] = true
			end
		end
		if wait > 0 then
			local over = code % 3
			overs = overs + 2 ^ (i - 1)
			if over == 0 then
				if wait > hard_wait then hard, hard_wait = i, wait end
			elseif over == 1 and wait > soft_wait then
				soft, soft_wait = i, wait
			end
		end
	end
	local charged = mode == 2 or (mode == 0 and hard == 0)
	if charged or always then
		for i, val in pairs(vals) do
			if charged or always[i] then
				local key = KEYS[k + i]
				old[key] = val ~= '' and val
				new[key], left[key] = val, ttls[i]
			end
		end
	end
	local at = #out
	out[at + 1] = hard > 0 and hard or soft
	out[at + 2] = ceil(hard > 0 and hard_wait or soft_wait)
	out[at + 3] = hard > 0 and 1 or 0
	out[at + 4] = overs
	out[at + 5] = given
	k = k + n
end
for key, val in pairs(new) do
	if val == '' then
		call('DEL', key)
	else
		call('SET', key, val, 'PX', whole(max(ceil(left[key] / 1000), 1)))
	end
end
return out
