/* meter.c - a worker's meter: construction, reload, the roll call of live workers. Questions:
 * question.c. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/digest_key.h"
#include "metermaid/known.h"
#include "metermaid/meter_internal.h"
#include "metermaid/rule_metric.h"
#include "net/digest.h"

enum {
	SHARED_KEYS = 65536, /* made before the configuration is known to this library */
	PRIVATE_KEYS = 8192,
	KNOWN_PAIRS = 131072,
	PASS_PAIRS = 65536,
	ROLL_CALL_MS = 2000, /* workers tell Redis that they live */
	ROLL_CALL_DEAD_MS = 7000,
	ROLL_CALL_SOON_MS = 200,
};

/* Made by metermaid_prepare() in the master, inherited by every worker. */
static struct {
	struct table *table;
	struct bans *bans;
	struct known *known, *passes;
	uint64_t ahead_us;          /* of the wall clock before the monotonic one */
	struct digest_mac *secrets; /* with a key of this host */
} host;

void metermaid_prepare(void)
{
	metric_register(meter_metrics, METER_M_COUNT);
	rule_metric_prepare();
	digest_key_prepare();
	if (host.table != NULL)
		return;
	host.table = table_new_shared(SHARED_KEYS);
	host.bans = bans_new_shared();
	host.known = known_new_shared(KNOWN_PAIRS);
	host.passes = known_new_shared(PASS_PAIRS);
	host.ahead_us = clock_wall_us() - clock_mono_ms() * 1000;
	uint8_t key[DIGEST_SHA256_LEN];
	rand_bytes(key, sizeof key);
	host.secrets = digest_mac_new(DIGEST_SHA256, span_of(key, sizeof key));
	mem_wipe(key, sizeof key);
}

struct table *meter_host_table(void)
{
	return host.table;
}

struct known *meter_host_known(void)
{
	return host.known;
}

struct known *meter_host_passes(void)
{
	return host.passes;
}

uint64_t meter_clock_ahead(const struct metermaid *m)
{
	return m->redis != NULL && m->ahead_us != 0 ? m->ahead_us : host.ahead_us;
}

uint64_t meter_host_now_us(void)
{
	return clock_mono_ms() * 1000 + host.ahead_us;
}

uint32_t meter_secret_hash(struct span user, struct span secret)
{
	uint8_t digest[DIGEST_LEN_MAX];
	uint32_t out;
	char room[256];
	struct buf both = BUF_IN(room, user.n + secret.n + 1);
	if (secret.n == 0) /* proven without being shown: each try counts */
		return 0;
	buf_add_span(&both, user);
	buf_add_char(&both, '\0');
	buf_add_span(&both, secret);
	digest_mac_make(host.secrets, buf_span(&both), digest);
	buf_wipe_end(&both);
	memcpy(&out, digest, sizeof out);
	return out != 0 ? out : 1;
}

bool meter_counts_logins(const struct metermaid *m)
{
	for (size_t i = 0; i < m->rules->n; i++)
		if (m->rules->v[i].kind != RULE_LIST &&
		    (m->rules->v[i].moments & 1u << METER_AUTH) != 0)
			return true;
	return false;
}

/* ---- how many workers share ---- */

static void on_roll_call(void *arg, const struct redis_reply *r)
{
	struct metermaid *m = arg;
	if (r->got != REDIS_VALUES || r->n != 1 || r->v[0].n <= 0)
		return;
	OBJ(metermaid, m)->live_workers = (uint64_t)r->v[0].n;
	m->roll_calls++;
}

static void call_roll(void *arg)
{
	static const char script[] =
	    "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
	    "redis.call('ZADD', KEYS[1], now, ARGV[1]) "
	    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2]) "
	    "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return redis.call('ZCARD', KEYS[1])";
	struct metermaid *m = OBJ(metermaid, arg);
	char dead[16], name[24];
	snprintf(dead, sizeof dead, "%d", (int)ROLL_CALL_DEAD_MS);
	snprintf(name, sizeof name, "%016" PRIx64, m->name);
	struct span words[] = { SPAN("EVAL"), span_str(script), SPAN("1"),
		SPAN("{postern}:workers"), span_str(name), span_str(dead) };
	redis_link_call(m->redis, words, COUNT_OF(words), on_roll_call, m);
	timer_set(&m->roll_call, redis_link_is_up(m->redis) ? ROLL_CALL_MS : ROLL_CALL_SOON_MS);
}

static void on_up(void *arg)
{
	struct metermaid *m = OBJ(metermaid, arg);
	m->roll_calls = 0; /* the roll may be empty now */
	call_roll(m);
	bans_sync_poll(m);
	holds_doubt_all(m->holds);
	learned_forget(m->learned);
}

/* ---- construction ---- */

static void number_rules(struct rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		r->v[i].slot = rule_metric_slot(span_str(r->v[i].name));
}

static void connect_redis(struct metermaid *m, const struct metermaid_conf *c)
{
	m->share = table_new_private(PRIVATE_KEYS);
	m->bans = bans_new_private();
	m->redis = redis_link_new(m->loop, m->dns, c);
	redis_link_on_up(m->redis, on_up, m);
}

struct metermaid *metermaid_new(struct loop *l, struct dns *dns, const struct conf *conf)
{
	struct metermaid *m = MEM_NEW(struct metermaid);
	const struct metermaid_conf *c = conf_section(conf, &metermaid_block);
	metermaid_prepare();
	m->magic = metermaid_MAGIC;
	m->loop = l;
	m->dns = dns;
	m->conf = conf_ref(conf);
	m->rules = rules_new(conf);
	number_rules(m->rules);
	m->observed = observed_new();
	m->hot = hot_new();
	m->holds = holds_new(m);
	m->learned = learned_new();
	m->live_workers = 1;
	m->name = rand_u64();
	list_init(&m->waiting);
	list_init(&m->asked);
	list_init(&m->done);
	soon_init(&m->flush, question_send, m);
	timer_init(&m->flush_late, l, question_late, m);
	timer_init(&m->roll_call, l, call_roll, m);
	timer_init(&m->bans_poll, l, bans_sync_poll, m);
	if (redis_link_wanted(c))
		connect_redis(m, c);
	else
		m->bans = host.bans;
	m->witness = witness_new(m);
	return m;
}

void metermaid_reload(struct metermaid *m, const struct conf *fresh)
{
	/* the link's own options need a restart, so it keeps the snapshot it began with */
	struct rules *r = rules_new(fresh);
	number_rules(r);
	struct rules *old = m->rules;
	m->rules = r;
	witness_reload(m->witness); /* lets go of what it borrows from the old one */
	rules_unref(&old);
	hot_forget(m->hot);
}

void metermaid_free(struct metermaid **m)
{
	struct metermaid *gone = *m;
	*m = NULL;
	if (gone == NULL)
		return;
	timer_clear(&gone->roll_call);
	timer_clear(&gone->bans_poll);
	bool has_redis = gone->redis != NULL;
	question_forget(gone);
	redis_link_free(&gone->redis); /* ends the batches, and with them the asked questions */
	question_free_all(gone);
	witness_free(&gone->witness);
	holds_free(&gone->holds);
	learned_free(&gone->learned);
	soon_clear(&gone->flush);
	timer_clear(&gone->flush_late);
	table_free(&gone->share);
	if (has_redis)
		bans_free(&gone->bans);
	hot_free(&gone->hot);
	observed_free(&gone->observed);
	rules_unref(&gone->rules);
	conf_unref(&gone->conf);
	gone->magic = 0;
	mem_free(gone);
}

bool metermaid_healthy(const struct metermaid *m)
{
	return m->redis == NULL || redis_link_is_up(m->redis);
}
