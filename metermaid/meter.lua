-- meter.lua - several questions in one atomic step, by the server's own clock; op.c says the same.
--
-- KEYS: the keys of all questions, each once.
-- ARGV[1], MessagePack: number of questions; then for each: mode (0 take, 1 peek, 2 force), number of its
-- keys, and for each key: place in KEYS, kind * 3 + over (0 refuses, 1 delays, 2 is noted), rule, cost, and what
-- its kind reads.
-- ARGV[2], MessagePack, for each rule: its index (a sorted set), most keys, longest life of a key in ms.
-- Returns the number of questions, and the time; then for each that does not just pass: which (from 1), index of the key that
-- decided (from 1; 0: none), wait_us, hard (1: refused), bits of the keys beyond their limit, bits of the
-- keys that got their extra tokens.
-- A refused question charges none of its keys, but those that say so (`always`). Every write sets the
-- key's expiry in the same command.
--
-- Values are read in one command and written once each at the end: questions of a batch often meet at a key.
-- Numbers reach the script packed, since a word of text for each costs more than all of the arithmetic.
local call, max, min, ceil, floor = redis.call, math.max, math.min, math.ceil, math.floor
local fmt, match, find, gmatch = string.format, string.match, string.find, string.gmatch
local KEYS, tonumber = KEYS, tonumber
local t = call('TIME')
local now = t[1] * 1000000 + t[2]
local A, a = cmsgpack.unpack(ARGV[1]), 2 -- and the next argument
local cur = call('MGET', unpack(KEYS)) -- by key: the value so far (false: none)
-- By key: life of what the batch leaves there; rule of those that are new; life of sets of users with a new one.
local left, fresh, noted = {}, nil, nil
local places, vals, ttls, always, lives = {}, {}, {}, {}, {} -- of the question's keys; lives: so far
local BRIEF = 1000000 -- what lives less is not counted: it is gone before it could be too many

local function whole(v)
	return fmt('%.0f', v)
end

-- Kinds other than rate, made when the first is met: each takes the old value (false: none), the cost and
-- the key's index and place; returns wait_us, new value, its ttl_us, and whether it is written even when the question
-- is refused.
local kinds
local function make_kinds()
local net -- of the greylist key before: its index, how many passed
kinds = {}

kinds[1] = function(old, cost) -- penalty
	local interval, tolerance, block, remember, secret = A[a], A[a + 1], A[a + 2], A[a + 3], A[a + 4]
	a = a + 5
	local from, ring = match(old or '', '^(%d+)(.*)$')
	from, ring = max(tonumber(from or 0), now), ring or ''
	local known = secret ~= 0 and find(ring, ' ' .. secret .. ' ', 1, true)
	if known then cost = 0 end
	local wait = from + min(interval * cost, tolerance) - now - tolerance
	local tat = min(from + interval * cost, max(from, now + tolerance + block))
	if secret ~= 0 and not known then
		local n, kept = 1, ' ' .. secret .. ' '
		for s in gmatch(ring, '%x+') do
			if n < 6 then kept, n = kept .. s .. ' ', n + 1 end
		end
		ring = kept
	end
	return wait, whole(tat) .. ring, max(tat - now, remember), wait > 0
end

kinds[2] = function(old, cost) -- counter
	local count, period = A[a], A[a + 1]
	a = a + 2
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
	local passes, pause, window, remember = A[a], A[a + 1], A[a + 2], A[a + 3]
	a = a + 4
	if passes > 0 and net.n >= passes then
		vals[net.i], ttls[net.i] = net.n, remember
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
		vals[net.i], ttls[net.i] = net.n + 1, remember
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
	local count, lease, who = A[a], A[a + 1], A[a + 2]
	a = a + 3
	local others, own, text, last = holders(old, who)
	local val, ttl = held(who, own + cost, text, last, lease)
	return others + own + cost > count and 1000000 or 0, val, ttl
end

-- Users who logged in well lately: what is read next, an interval or a count, grows with them; or one more.
kinds[7] = function(_, _, _, key)
	local remember, grow, most, rate, count, who = A[a], A[a + 1], A[a + 2], A[a + 3], A[a + 4], A[a + 5]
	local name, since, at = KEYS[key], whole(now - A[a]), a - 4
	a = a + 6
	if who ~= 0 then
		if call('ZADD', name, whole(now), who) == 1 then
			call('ZREMRANGEBYSCORE', name, '-inf', since)
			call('ZREMRANGEBYRANK', name, 0, -most - 1)
			noted, fresh = noted or {}, fresh or {}
			noted[key], fresh[key] = remember, at
		end
		call('PEXPIRE', name, ceil(remember / 1000))
		return 0
	end
	local users = min(call('ZCOUNT', name, since, '+inf'), most)
	if rate > 0 then
		A[a + 4] = max(floor(A[a + 4] * count / (count + grow * users)), 1)
	else
		A[a + 4] = A[a + 4] + grow * users
	end
	return 0
end

kinds[6] = function(old, cost) -- what a holder has now
	local keep, lease, who = A[a], A[a + 1], A[a + 2]
	a = a + 3
	local _, own, text, last = holders(old, who)
	local val, ttl = held(who, keep == 1 and max(own, cost) or cost, text, last, lease)
	return 0, val, ttl, true
end

end

local out = { A[1], now }
for q = 1, A[1] do
	local mode, n, any = A[a], A[a + 1], false
	local hard, hard_wait, soft, soft_wait, overs, given = 0, 0, 0, 0, 0, 0
	a = a + 2
	for i = 1, n do
		local key, code, cost, wait = A[a], A[a + 1], A[a + 3], nil
		local value = cur[key]
		places[i] = a
		always[i] = false
		if code < 3 then -- rate
			local interval, tolerance, extra = A[a + 4], A[a + 5], A[a + 6]
			a = a + 7
			local tat = max(value and tonumber(value) or 0, now)
			lives[i] = tat - now
			tat = tat + min(interval * cost, tolerance)
			wait = tat - now - tolerance
			if wait > 0 then
				tat = min(tat, now + tolerance + interval)
			elseif extra > 0 and mode == 0 then
				local more = tat + interval * extra
				if more <= now + tolerance then tat, given = more, given + 2 ^ (i - 1) end
			end
			vals[i], ttls[i] = tat, tat - now
		else
			if not kinds then make_kinds() end
			lives[i] = value and BRIEF or 0
			a = a + 4
			local val, ttl, anyway
			wait, val, ttl, anyway = kinds[(code - code % 3) / 3](value, cost, i, key)
			vals[i], ttls[i] = val, ttl
			if anyway then always[i], any = true, true end
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
	if charged or any then
		for i = 1, n do
			local val = vals[i]
			if val and (charged or always[i]) then
				local key, life = A[places[i]], ttls[i]
				if life >= BRIEF and (left[key] or lives[i]) < BRIEF then
					fresh = fresh or {}
					fresh[key] = places[i]
				end
				cur[key], left[key] = val ~= '' and val, life
			end
		end
	end
	if overs > 0 or given > 0 then
		local at = #out
		out[at + 1] = q
		out[at + 2] = hard > 0 and hard or soft
		out[at + 3] = ceil(hard > 0 and hard_wait or soft_wait)
		out[at + 4] = hard > 0 and 1 or 0
		out[at + 5] = overs
		out[at + 6] = given
	end
end

for key, life in pairs(left) do
	local val = cur[key]
	if val then
		call('PSETEX', KEYS[key], max(ceil(life / 1000), 1), val)
	else
		call('DEL', KEYS[key])
	end
end
if not fresh then return out end

-- New keys, and those that were brief, enter the index of their rule, where each stands by the time it ends: a lower bound, since those
-- that are used live longer. When the rule has too many, the first of them is looked at again: one that has
-- grown moves back to where it belongs now, another one goes.
local rules, room = cmsgpack.unpack(ARGV[2]), {}

-- What the key is worth. One that counts as such, a counter or a greylist's network, is worth up to one
-- more of its lives.
local function worth(name, life)
	local kind = match(name, '}:([cn]):')
	local ms = call('PTTL', name)
	if ms < 0 then return nil end
	local n = kind and tonumber(match(call('GET', name) or '', '^%d+') or 1) or 1
	return now + ms * 1000 + life * 1000 * (1 - 1 / max(n, 1))
end

-- One place becomes free: that of a key that has ended, else that of the least of those looked at.
local function make_room(index, life)
	local seen, least = {}, 1
	for i = 1, 8 do
		local first = call('ZPOPMIN', index)
		local is = first[1] and worth(first[1], life)
		if not is then
			least = nil
			break
		end
		seen[i] = { first[1], is }
		if is < seen[least][2] then least = i end
		if is <= tonumber(first[2]) + 2000 then break end
	end
	for i, one in ipairs(seen) do
		if i == least then
			call('DEL', one[1])
		else
			call('ZADD', index, whole(one[2]), one[1])
		end
	end
end

local longest = {} -- life, by index
for key, at in pairs(fresh) do
	local life_us = cur[key] and left[key] or noted and noted[key]
	if life_us then
		local r, tries = A[at + 2] * 3, 0
		local index, most, life = rules[r + 1], rules[r + 2], rules[r + 3]
		if not room[index] then
			room[index], longest[index] = most - call('ZCARD', index), life
		end
		while room[index] < 1 and tries < 16 do -- more than one: the rule had more before
			make_room(index, life)
			room[index], tries = room[index] + 1, tries + 1
		end
		room[index] = room[index] - call('ZADD', index, whole(now + life_us), KEYS[key])
	end
end
for index, life in pairs(longest) do
	if call('PTTL', index) < life then call('PEXPIRE', index, life + 60000) end
end
return out
