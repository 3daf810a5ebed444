/* bans_sync.c - the tier's list of bans in Redis: one sorted set by expiry, polled when it changed.
 *
 * A ban is in this worker's copy at once and in those of the other workers at their next poll. While
 * Redis is away every worker goes on with its copy. */
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "metermaid/meter_internal.h"

enum { POLL_MS = 1000 };

/* KEYS: the set, its version. ARGV: "poll", version known | "put", entry, ms | "remove", entry.
 * Neither key outlives its last entry by more than a minute. */
static const char script[] =
    "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local K, V = KEYS[1], KEYS[2] "
    "redis.call('ZREMRANGEBYSCORE', K, '-inf', now) "
    "if ARGV[1] == 'put' then "
    "redis.call('ZADD', K, 'GT', now + ARGV[3], ARGV[2]) "
    "redis.call('ZREMRANGEBYRANK', K, 0, -1025) "
    "elseif ARGV[1] == 'remove' then redis.call('ZREM', K, ARGV[2]) end "
    "local last = redis.call('ZRANGE', K, -1, -1, 'WITHSCORES') "
    "local ends = tonumber(last[2] or now) + 60000 "
    "if last[2] then redis.call('PEXPIREAT', K, string.format('%.0f', ends)) end "
    "if ARGV[1] ~= 'poll' then "
    "redis.call('SET', V, string.format('%.0f', t[1] * 1000000 + t[2]), "
    "'PX', string.format('%.0f', ends - now)) return 0 end "
    "local v = redis.call('GET', V) or '0' "
    "if v == ARGV[2] then return {tonumber(v)} end "
    "local out = {tonumber(v)} "
    "local all = redis.call('ZRANGE', K, 0, -1, 'WITHSCORES') "
    "for i = 1, #all, 2 do out[#out + 1] = all[i] out[#out + 1] = tonumber(all[i + 1]) - now end "
    "return out";

static void on_poll(void *arg, const struct redis_reply *r)
{
	if (r->got != REDIS_VALUES || r->n == 0 || r->v[0].text.p != NULL)
		return;
	struct metermaid *m = OBJ(metermaid, arg);
	uint64_t now = clock_mono_ms();
	if (m->bans_version == r->v[0].n)
		return;
	m->bans_version = r->v[0].n;
	bans_clear(m->bans);
	for (size_t i = 1; i + 1 < r->n; i += 2)
		if (r->v[i].text.p != NULL && r->v[i + 1].n > 0)
			bans_put(m->bans, r->v[i].text, now + (uint64_t)r->v[i + 1].n);
}

static void on_change(void *arg, const struct redis_reply *r)
{
	/* lost: this worker's copy has it, until Redis says otherwise */
}

static bool call(struct metermaid *m, struct span act, struct span what, struct span more)
{
	struct span words[] = { SPAN("EVAL"), span_str(script), SPAN("2"), SPAN("{postern}:bans"),
		SPAN("{postern}:bans:version"), act, what, more };
	return redis_link_call(
	    m->redis, words, COUNT_OF(words), span_eq(act, SPAN("poll")) ? on_poll : on_change, m);
}

void bans_sync_poll(void *metermaid)
{
	struct metermaid *m = OBJ(metermaid, metermaid);
	char version[24];
	snprintf(version, sizeof version, "%" PRId64, m->bans_version);
	call(m, SPAN("poll"), span_str(version), SPAN(""));
	timer_set(&m->bans_poll, POLL_MS);
}

bool bans_sync_put(struct metermaid *m, const char *list, struct span key, uint64_t ms)
{
	struct buf text = BUF_INIT(BAN_TEXT_MAX);
	char number[24];
	buf_printf(&text, "%s|", list);
	buf_add_span(&text, key);
	bool ok =
	    buf_ok(&text) && (ms > 0 ? bans_put(m->bans, buf_span(&text), clock_mono_ms() + ms)
				     : bans_remove(m->bans, buf_span(&text)));
	snprintf(number, sizeof number, "%" PRIu64, ms);
	if (buf_ok(&text) && m->redis != NULL && (ok || ms == 0))
		call(m, ms > 0 ? SPAN("put") : SPAN("remove"), buf_span(&text), span_str(number));
	buf_end(&text);
	return ok;
}
