/* rule.c - compiles the rows of section metermaid. The keys of a question: rule_key.c. */
#include <inttypes.h>
#include <string.h>

#include "base/fmt.h"
#include "base/mem.h"
#include "metermaid/digest_key.h"
#include "metermaid/rule.h"

enum { V4_BITS = 32, V6_BITS = 64 };

const char *const rule_moments[METER_MOMENTS] = { "connect", "tls", "auth", "mail", "rcpt",
	"message", "login", "session" };
const char *const rule_kinds[] = { "rate", "concurrency", "penalty", "counter", "greylist",
	"list" };
const char *const rule_actions[] = { "allow", "tag", "delay", "defer", "refuse", "disconnect",
	"shadow" };
const char *const rule_parts[PARTS] = { "user", "domain", "sender", "sender_domain", "recipient",
	"helo", "listener" };

/* ---- key ---- */

/* "24" or "-" for the lengths of one family. */
static bool parse_bits(struct span text, uint64_t max, int *out)
{
	uint64_t bits;
	*out = -1;
	if (span_eq(text, SPAN("-")))
		return true;
	if (!span_u64(text, max, &bits))
		return false;
	*out = (int)bits;
	return true;
}

/* client, client/V4 (the next word is V6) or client/V4/V6 */
static bool parse_client(struct rule *r, struct span lengths)
{
	if (r->tier_n == TIERS_MAX)
		return false;
	struct tier *t = &r->tiers[r->tier_n++];
	*t = (struct tier){ .v4_bits = V4_BITS, .v6_bits = V6_BITS };
	r->by_client = true;
	if (lengths.p == NULL)
		return true;
	struct span v4 = span_cut(&lengths, '/');
	return parse_bits(v4, 32, &t->v4_bits) &&
	       (lengths.p == NULL || parse_bits(lengths, 128, &t->v6_bits));
}

/* *wants_v6: the word before was client/V4, so a length here is its V6. */
static bool parse_key_word(struct rule *r, struct span word, bool *wants_v6)
{
	struct span rest = word, name = span_cut(&rest, '/');
	bool second = *wants_v6;
	*wants_v6 = false;
	if (second && rest.p == NULL && parse_bits(name, 128, &r->tiers[r->tier_n - 1].v6_bits))
		return true;
	if (span_eq(name, SPAN("client"))) {
		*wants_v6 = rest.p != NULL && span_find(rest, '/') == SIZE_MAX;
		return parse_client(r, rest);
	}
	for (unsigned i = 0; i < PARTS; i++)
		if (rest.p == NULL && span_eq_str(name, rule_parts[i])) {
			bool twice = (r->parts & 1u << i) != 0;
			r->parts |= 1u << i;
			return !twice;
		}
	return false;
}

static const char *compile_key(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	bool wants_v6 = false;
	for (size_t i = 0; i < c->key.n; i++)
		if (!parse_key_word(r, span_str(c->key.v[i]), &wants_v6)) {
			buf_printf(why,
			    "key \"%.80s\" is none of client/V4BITS,V6BITS (at most %d lengths), "
			    "user, domain, sender, sender_domain, recipient, helo, listener, each "
			    "once",
			    c->key.v[i], (int)TIERS_MAX);
			return buf_cstr(why);
		}
	if (r->kind == RULE_LIST)
		return c->key.n > 0 ? "a list takes no key: its networks and users are it" : NULL;
	if (!r->by_client && r->parts == 0)
		return "key is missing";
	if (r->tier_n == 0)
		r->tiers[r->tier_n++] = (struct tier){ .v4_bits = -1, .v6_bits = -1 };
	return NULL;
}

/* ---- limits ---- */

static void add_window(struct rule *r, struct tier *t, const struct conf_rate *rate, int64_t burst)
{
	uint64_t first = t->windows == 0 && burst > 0 ? (uint64_t)burst : 0;
	r->never = r->never || rate->count == 0;
	t->limit[t->windows] = bucket_limit_make(rate->count, rate->per_ms, first);
	t->count[t->windows] = rate->count;
	t->per_ms[t->windows++] = rate->per_ms;
}

static const char *compile_rates(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	bool windows = r->tier_n == 1 && c->burst.n <= 1; /* then a list is one of windows */
	if (c->rate.n == 0)
		return "rate is missing";
	if (!windows && c->rate.n != r->tier_n) {
		buf_printf(why,
		    "%zu rates for %zu lengths of the key; several windows of one length are "
		    "written 10/1m+100/1h",
		    c->rate.n, r->tier_n);
		return buf_cstr(why);
	}
	if (c->burst.n > 0 && c->burst.n != r->tier_n) {
		buf_printf(why, "%zu bursts for %zu lengths of the key", c->burst.n, r->tier_n);
		return buf_cstr(why);
	}
	for (size_t i = 0; i < c->rate.n; i++)
		for (size_t w = 0; w < c->rate.v[i].n; w++) {
			size_t at = windows ? 0 : i;
			struct tier *t = &r->tiers[at];
			if (t->windows == CONF_WINDOWS_MAX)
				return "more than 4 windows";
			add_window(r, t, &c->rate.v[i].v[w], c->burst.n > 0 ? c->burst.v[at] : 0);
		}
	return NULL;
}

static const char *compile_limits(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	if (c->rate.n > 0 || c->burst.n > 0)
		return "kind concurrency has no rate and no burst, but limit";
	if (c->limit.n != r->tier_n) {
		buf_printf(why, "%zu limits for %zu lengths of the key", c->limit.n, r->tier_n);
		return buf_cstr(why);
	}
	for (size_t i = 0; i < r->tier_n; i++) {
		r->tiers[i].count[0] = (uint64_t)c->limit.v[i];
		r->tiers[i].per_ms[0] = c->lease;
		r->tiers[i].windows = 1;
	}
	return NULL;
}

/* A wide network with less than a narrow one would make the narrow one's limit meaningless. */
static const char *check_rising(const struct rule *r)
{
	for (size_t i = 1; i < r->tier_n; i++) {
		const struct tier *narrow = &r->tiers[i - 1], *wide = &r->tiers[i];
		if ((narrow->v4_bits >= 0 && wide->v4_bits >= narrow->v4_bits) ||
		    (narrow->v6_bits >= 0 && wide->v6_bits >= narrow->v6_bits))
			return "the lengths of the client's network must get shorter";
		if (wide->windows == 1 && narrow->windows == 1 &&
		    wide->per_ms[0] == narrow->per_ms[0] && wide->count[0] < narrow->count[0])
			return "the limit of a wide network is below that of a narrow one";
	}
	return NULL;
}

static const char *compile_kind(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	switch (r->kind) {
	case RULE_RATE:
	case RULE_PENALTY:
	case RULE_COUNTER:
		return c->limit.n > 0 ? "limit is for kind concurrency; this kind has rate"
				      : compile_rates(r, c, why);
	case RULE_CONCURRENCY:
		return compile_limits(r, c, why);
	case RULE_GREYLIST:
	case RULE_LIST:
		break;
	}
	if (c->rate.n > 0 || c->burst.n > 0 || c->limit.n > 0)
		return "this kind has no rate, burst or limit";
	for (size_t i = 0; i < r->tier_n; i++)
		r->tiers[i].windows = 1;
	return r->kind == RULE_GREYLIST && r->tier_n > 1
		   ? "kind greylist takes one length of the client's network"
		   : NULL;
}

/* Not of the limits: what is stored are times and counts, and they go on over a reload. */
static uint64_t uid_of(const struct rule *r)
{
	struct buf b = BUF_INIT(1024);
	buf_printf(&b, "%d|%s", (int)r->kind, r->name);
	uint64_t uid = digest_key_of(buf_span(&b)).h1;
	buf_end(&b);
	return uid;
}

const char *rule_compile(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	*r = (struct rule){
		.name = c->head.title,
		.moments = 1u << c->on,
		.kind = (enum rule_kind)c->kind,
		.cost = (enum rule_cost_kind)c->cost,
		.action = (enum rule_action)c->action,
		.on_loss = (enum rule_loss)c->on_loss,
		.conf = c,
		.tag = c->tag != NULL ? c->tag : c->head.title,
		.ban_list = c->ban_list != NULL ? c->ban_list : "ban",
		.ban_ms = c->ban_for,
	};
	const char *wrong = compile_key(r, c, why);
	if (wrong == NULL)
		wrong = compile_kind(r, c, why);
	if (wrong == NULL)
		wrong = check_rising(r);
	r->uid = uid_of(r);
	return wrong;
}

void rule_put_limit(
    const struct rule *r, const struct tier *t, struct rule_limit which, struct buf *out)
{
	if (r->kind == RULE_GREYLIST)
		return;
	buf_printf(out, "%" PRIu64, t->count[which.window] + which.more);
	if (r->kind == RULE_CONCURRENCY)
		return;
	buf_add_char(out, '/');
	fmt_duration(out, t->per_ms[which.window]);
}

/* ---- all of them ---- */

/* What `postern meter ban` fills, unless a rule of that name says what else is to be done. */
static void add_ban(struct rules *r)
{
	if (rules_find(r, "ban") != NULL)
		return;
	r->v[r->n++] = (struct rule){
		.name = "ban",
		.moments = 1u << METER_CONNECT | 1u << METER_AUTH | 1u << METER_MAIL,
		.kind = RULE_LIST,
		.action = ACT_REFUSE,
		.tag = "ban",
		.ban_list = "ban",
	};
}

struct rules *rules_new(const struct conf *conf)
{
	const struct metermaid_conf *m = conf_section(conf, &metermaid_block);
	struct rules *r = MEM_NEW(struct rules);
	struct buf why = BUF_INIT(512);
	r->refs = 1;
	r->conf = conf_ref(conf);
	for (size_t i = 0; i < m->rule_n && r->n < RULES_MAX; i++)
		if (rule_compile(&r->v[r->n], m->rule[i], &why) == NULL) {
			r->grow = r->grow || rule_grows(&r->v[r->n]);
			r->n++;
		}
	add_ban(r);
	buf_end(&why);
	return r;
}

struct rules *rules_ref(struct rules *r)
{
	r->refs++;
	return r;
}

void rules_unref(struct rules **r)
{
	struct rules *gone = *r;
	*r = NULL;
	if (gone == NULL || --gone->refs > 0)
		return;
	conf_unref(&gone->conf);
	mem_free(gone);
}

struct rule *rules_find(struct rules *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->v[i].name, name) == 0)
			return &r->v[i];
	return NULL;
}
