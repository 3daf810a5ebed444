/* passes.c - which tests a client's network has passed; see passes.h. Beside the questions over rules, on the
 * same link. Owns one struct pass_ask for each question until Redis has answered it or is lost. */
#include "metermaid/passes.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "metermaid/known.h"
#include "metermaid/meter_internal.h"

#define pass_ask_MAGIC 0x4ed15a55u

enum {
	V4_BITS = 32,
	V6_BITS = 64,
	NET_SIZE = 16 + 1,
	KEY_SIZE = 64,
	NUMBER_SIZE = 24,
	VALUE_MAX = 400
};

#define INDEX SPAN("{postern}:passes")

static const char *const fields[PASS_KINDS] = { "lists", "greeting", "name" };

struct pass_ask {
	struct ticket base; /* first */
	uint32_t magic;
	struct ip_addr client;
	struct timer deadline;
	passes_fn *fn; /* NULL: answered or cancelled, only Redis is waited for */
	void *arg;
};

/* ---- keys ------------------------------------------------------------------------------------- */

static void put_net(struct ip_addr client, char out[NET_SIZE])
{
	bool v4 = ip_is_v4(client);
	struct ip_prefix net = ip_network(client, v4 ? V4_BITS : V6_BITS);
	struct buf hex = BUF_INIT(NET_SIZE);
	fmt_hex(&hex, v4 ? span_of(net.addr.b + 12, 4) : span_of(net.addr.b, 8));
	snprintf(out, NET_SIZE, "%s", buf_cstr(&hex));
	buf_end(&hex);
}

static struct span key_of(struct ip_addr client, char out[KEY_SIZE])
{
	char net[NET_SIZE];
	put_net(client, net);
	snprintf(out, KEY_SIZE, "{postern}:pass:%s", net);
	return span_str(out);
}

/* ---- what Redis says -------------------------------------------------------------------------- */

static bool is_name(struct span name)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_' && c != '.')
			return false;
	}
	return name.n > 0 && name.n <= PASS_NAME_MAX;
}

/* "1790000000000", for a name "1790000000000 192.0.2.1 mail.example.org": when, whose, which. */
static void take_field(struct passes *p, enum meter_pass kind, struct span value, uint64_t now_ms,
    struct ip_addr client)
{
	uint64_t at;
	struct ip_addr whose;
	struct span when = span_cut(&value, ' ');
	if (!span_u64(when, INT64_MAX, &at) || at == 0)
		return;
	if (kind == PASS_NAME) {
		if (!ip_parse(span_cut(&value, ' '), &whose) || !ip_eq(whose, client) ||
		    !is_name(value))
			return;
		p->name = value;
	}
	p->since_ms[kind] = now_ms > at ? now_ms - at + 1 : 1;
}

static void take_reply(struct passes *p, const struct redis_reply *r, struct ip_addr client)
{
	uint64_t now_ms;
	if (r->got != REDIS_VALUES || r->n != PASS_KINDS + 1 ||
	    !span_u64(r->v[0].text, INT64_MAX, &now_ms))
		return;
	for (size_t i = 0; i < PASS_KINDS; i++)
		if (r->v[i + 1].text.p != NULL)
			take_field(p, (enum meter_pass)i, r->v[i + 1].text, now_ms, client);
}

static void answer(struct pass_ask *a, const struct passes *p)
{
	passes_fn *fn = a->fn;
	a->fn = NULL;
	timer_clear(&a->deadline);
	if (fn != NULL)
		fn(a->arg, p);
}

static void on_reply(void *arg, const struct redis_reply *r)
{
	struct pass_ask *a = OBJ(pass_ask, arg);
	struct passes p = { .name = SPAN_NONE };
	take_reply(&p, r, a->client);
	answer(a, &p);
	a->magic = 0;
	mem_free(a);
}

static void on_deadline(void *arg)
{
	static const struct passes nothing;
	answer(OBJ(pass_ask, arg), &nothing);
}

static void on_cancel(struct ticket *t)
{
	struct pass_ask *a = OBJ(pass_ask, t);
	a->fn = NULL;
	timer_clear(&a->deadline);
}

static void on_done(void *arg, const struct redis_reply *r)
{
	/* what was lost is tested again */
}

/* ---- asking ----------------------------------------------------------------------------------- */

bool passes_ask_now(struct metermaid *m, struct ip_addr client, struct passes *out)
{
	*out = (struct passes){ .name = SPAN_NONE };
	if (m->redis != NULL)
		return !redis_link_is_up(m->redis);
	for (size_t i = 0; i < PASS_NAME; i++)
		out->since_ms[i] =
		    known_since(meter_host_passes(), client, span_str(fields[i]), clock_mono_ms());
	return true;
}

struct ticket *passes_ask(struct metermaid *m, struct ip_addr client, passes_fn *fn, void *arg)
{
	static const char script[] =
	    "local t = redis.call('TIME') "
	    "local r = redis.call('HMGET', KEYS[1], 'lists', 'greeting', 'name') "
	    "return {string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), r[1], r[2], "
	    "r[3]}";
	char key[KEY_SIZE];
	const struct span words[] = { SPAN("EVAL"), span_str(script), SPAN("1"),
		key_of(client, key) };
	const struct metermaid_conf *c = conf_section(m->rules->conf, &metermaid_block);
	struct pass_ask *a = MEM_NEW(struct pass_ask);
	a->base.cancel = on_cancel;
	a->magic = pass_ask_MAGIC;
	a->client = client;
	a->fn = fn;
	a->arg = arg;
	if (m->redis == NULL || !redis_link_call(m->redis, words, COUNT_OF(words), on_reply, a)) {
		mem_free(a);
		return NULL;
	}
	timer_init(&a->deadline, m->loop, on_deadline, a);
	timer_set(&a->deadline, c->deadline);
	return &a->base;
}

/* ---- noting ----------------------------------------------------------------------------------- */

static void note_here(struct ip_addr client, const struct passes_new *n)
{
	for (size_t i = 0; i < PASS_NAME; i++)
		if (n->kind[i])
			known_note(
			    meter_host_passes(), client, span_str(fields[i]), clock_mono_ms());
}

/* KEYS: the network's hash, the index. ARGV: network, how long, how many, then what: field, what stands behind
 * the time. The index goes by itself too; what it forgets by its bound goes with it. */
static const char note_script[] =
    "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local K, I, text = KEYS[1], KEYS[2], string.format('%.0f', now) "
    "for i = 4, #ARGV, 2 do redis.call('HSET', K, ARGV[i], text .. ARGV[i + 1]) end "
    "redis.call('PEXPIRE', K, ARGV[2]) redis.call('ZADD', I, text, ARGV[1]) "
    "redis.call('ZREMRANGEBYSCORE', I, '-inf', string.format('%.0f', now - ARGV[2])) "
    "local over = redis.call('ZCARD', I) - ARGV[3] "
    "if over > 0 then local gone = redis.call('ZPOPMIN', I, math.min(over, 100)) "
    "for i = 1, #gone, 2 do redis.call('DEL', '{postern}:pass:' .. gone[i]) end end "
    "redis.call('PEXPIRE', I, ARGV[2]) return 1";

void passes_note(struct metermaid *m, struct ip_addr client, const struct passes_new *n)
{
	char key[KEY_SIZE], net[NET_SIZE], keep[NUMBER_SIZE], most[NUMBER_SIZE], addr[IP_TEXT_SIZE];
	struct buf whose = BUF_INIT(VALUE_MAX);
	if (m->redis == NULL) {
		note_here(client, n);
		return;
	}
	put_net(client, net);
	snprintf(keep, sizeof keep, "%" PRIu64, n->keep_ms);
	snprintf(most, sizeof most, "%" PRIu64, n->most);
	struct span words[8 + 2 * PASS_KINDS] = { SPAN("EVAL"), span_str(note_script), SPAN("2"),
		key_of(client, key), INDEX, span_str(net), span_str(keep), span_str(most) };
	size_t w = 8;
	if (n->kind[PASS_NAME])
		buf_printf(&whose, " %s %s", ip_text(client, addr), n->name);
	for (size_t i = 0; i < PASS_KINDS; i++) {
		if (!n->kind[i])
			continue;
		words[w++] = span_str(fields[i]);
		words[w++] = i == PASS_NAME ? buf_span(&whose) : SPAN("");
	}
	if (w > 8 && buf_ok(&whose))
		redis_link_call(m->redis, words, w, on_done, m);
	buf_end(&whose);
}

void passes_drop(struct metermaid *m, struct ip_addr client)
{
	char key[KEY_SIZE], net[NET_SIZE];
	if (m->redis == NULL) {
		for (size_t i = 0; i < PASS_NAME; i++)
			known_forget(meter_host_passes(), client, span_str(fields[i]));
		return;
	}
	put_net(client, net);
	const struct span del[] = { SPAN("DEL"), key_of(client, key) };
	const struct span out[] = { SPAN("ZREM"), INDEX, span_str(net) };
	redis_link_call(m->redis, del, COUNT_OF(del), on_done, m);
	redis_link_call(m->redis, out, COUNT_OF(out), on_done, m);
}
