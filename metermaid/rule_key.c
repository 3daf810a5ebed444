/* rule_key.c - which rules a question meets and the keys it has under them: digests for tables and
 * caches, text for Redis and people. */
#include <string.h>

#include "base/fmt.h"
#include "metermaid/digest_key.h"
#include "metermaid/rule.h"
#include "net/digest.h"

/* With the @, so that a key's text can be told from a user's. */
static struct span domain_of(struct span address)
{
	size_t at = span_rfind(address, '@');
	return at == SIZE_MAX ? SPAN_NONE : span_from(address, at);
}

struct span rule_part(const struct meter_facts *f, enum rule_part part)
{
	switch (part) {
	case PART_USER:
		return f->user;
	case PART_DOMAIN:
		return domain_of(f->user);
	case PART_SENDER:
		return f->sender.n > 0 ? f->sender : SPAN("<>");
	case PART_SENDER_DOMAIN:
		return f->sender.n > 0 ? domain_of(f->sender) : SPAN("<>");
	case PART_RECIPIENT:
		return f->recipient;
	case PART_HELO:
		return f->helo;
	case PART_LISTENER:
		return f->listener;
	case PARTS:
		break;
	}
	return SPAN_NONE;
}

static bool is_named(struct span name, const struct conf_strings *names)
{
	for (size_t i = 0; i < names->n; i++)
		if (span_eq_str(name, names->v[i]))
			return true;
	return false;
}

static bool is_exempt(const struct rule *r, const struct meter_facts *f)
{
	const struct meter_rule_conf *c = r->conf;
	if (c == NULL)
		return false;
	return (c->exempt_authenticated && f->authenticated) ||
	       (f->known_ms > 0 && f->known_ms <= c->spare_known) ||
	       (c->exempt.n > 0 && ip_in_set(f->client, &c->exempt)) ||
	       (c->exempt_listeners.n > 0 && is_named(f->listener, &c->exempt_listeners));
}

bool rule_applies(const struct rule *r, enum meter_moment moment, const struct meter_facts *f)
{
	if ((r->moments & 1u << moment) == 0 || (r->by_client && ip_is_none(f->client)))
		return false;
	for (unsigned i = 0; i < PARTS; i++)
		if ((r->parts & 1u << i) != 0 && rule_part(f, (enum rule_part)i).n == 0)
			return false;
	return !is_exempt(r, f);
}

/* ---- keys ---- */

static uint64_t cost_of(const struct rule *r, const struct meter_facts *f)
{
	if (r->cost == COST_RECIPIENTS)
		return f->recipients;
	return r->cost == COST_BYTES ? f->bytes : 1;
}

int rule_tier_bits(const struct tier *t, const struct meter_facts *f)
{
	return ip_is_v4(f->client) ? t->v4_bits : t->v6_bits;
}

struct ip_prefix rule_key_net(const struct meter_key *k, const struct meter_facts *f)
{
	int bits = rule_tier_bits(&k->rule->tiers[k->tier], f);
	return ip_network(f->client, (unsigned)bits);
}

/* Everything that tells this key from others, in a fixed layout: nothing of it needs text.
 * net_only: without the other parts. */
static struct key_id digest(const struct meter_key *k, const struct meter_facts *f, bool net_only)
{
	struct {
		uint64_t uid;
		uint8_t net[16];
		uint64_t parts[PARTS];
		uint8_t tier, window, kind, bits;
	} id = { .uid = k->rule->uid, .tier = k->tier, .window = k->window };
	id.kind = (uint8_t)k->op.kind;
	if (k->rule->by_client) {
		struct ip_prefix p = rule_key_net(k, f);
		memcpy(id.net, p.addr.b, sizeof id.net);
		id.bits = p.bits;
	}
	for (unsigned i = 0; i < PARTS && !net_only; i++)
		if ((k->rule->parts & 1u << i) != 0)
			id.parts[i] = digest_key_of(rule_part(f, (enum rule_part)i)).h1;
	return digest_key_of(span_of(&id, offsetof(__typeof__(id), bits) + 1));
}

static const enum op_over overs[] = {
	[ACT_ALLOW] = OVER_NOTED,
	[ACT_TAG] = OVER_NOTED,
	[ACT_DELAY] = OVER_DELAYS,
	[ACT_DEFER] = OVER_REFUSES,
	[ACT_REFUSE] = OVER_REFUSES,
	[ACT_DISCONNECT] = OVER_REFUSES,
	[ACT_SHADOW] = OVER_NOTED,
};

static void fill_op(struct meter_key *k, const struct meter_facts *f)
{
	static const enum op_kind kinds[] = { OP_RATE, OP_LEASE, OP_PENALTY, OP_COUNTER, OP_GREY };
	const struct rule *r = k->rule;
	const struct tier *t = &r->tiers[k->tier];
	const struct meter_rule_conf *c = r->conf;
	k->op = (struct op){ .kind = kinds[r->kind], .over = overs[r->action] };
	k->op.keys_max = (uint64_t)c->keys_max;
	k->op.rule = (uint16_t)(r->uid | 1);
	k->op.grow = (uint64_t)c->grow;
	k->op.cost = cost_of(r, f);
	k->op.rate = t->limit[k->window];
	k->op.count = t->count[k->window];
	if (r->kind == RULE_PENALTY) {
		k->op.span_us = c->block * 1000;
		k->op.remember_us = c->remember * 1000;
		k->op.who = f->secret_hash;
	} else if (r->kind == RULE_COUNTER) {
		k->op.span_us = t->per_ms[k->window] * 1000;
	} else if (r->kind == RULE_CONCURRENCY) {
		k->op.span_us = c->lease * 1000;
	} else if (r->kind == RULE_GREYLIST) {
		k->op.count = (uint64_t)c->passes;
		k->op.span_us = c->wait * 1000;
		k->op.window_us = c->window * 1000;
		k->op.remember_us = c->remember * 1000;
	}
}

/* The same on every host. Not 0. */
static uint64_t user_digest(struct span user)
{
	uint8_t raw[DIGEST_LEN_MAX];
	uint64_t out;
	digest_make(DIGEST_SHA256, user, raw);
	memcpy(&out, raw, sizeof out);
	return out != 0 ? out : 1;
}

/* The op that says how many users the client's network has, for the keys behind it. */
static void make_users_key(
    const struct meter_key *of, const struct meter_facts *f, struct meter_key *out)
{
	const struct meter_rule_conf *c = of->rule->conf;
	bool rate = of->op.kind == OP_RATE || of->op.kind == OP_PENALTY;
	*out = (struct meter_key){ .rule = of->rule, .tier = of->tier };
	out->op = (struct op){ .kind = OP_USERS,
		.over = OVER_NOTED,
		.keys_max = of->op.keys_max,
		.rule = of->op.rule,
		.count = of->op.count,
		.span_us = rate,
		.remember_us = c->grow_for * 1000,
		.grow = (uint64_t)c->grow,
		.grow_max = (uint64_t)c->grow_max };
	out->op.id = digest(out, f, true);
}

static size_t add_tier(struct rule *r, uint8_t tier, const struct meter_facts *f,
    struct meter_key keys[KEYS_PER_QUESTION_MAX], size_t n)
{
	size_t pair = r->kind == RULE_GREYLIST || rule_grows(r) ? 2 : 1;
	for (uint8_t w = 0; w < r->tiers[tier].windows && n + pair <= KEYS_PER_QUESTION_MAX; w++) {
		keys[n] = (struct meter_key){ .rule = r, .tier = tier, .window = w };
		fill_op(&keys[n], f);
		if (keys[n].op.grow > 0) {
			keys[n + 1] = keys[n];
			make_users_key(&keys[n + 1], f, &keys[n]);
			n++;
		}
		if (r->kind == RULE_GREYLIST) {
			keys[n].op.kind = OP_GREY_NET;
			keys[n].op.id = digest(&keys[n], f, true);
			keys[n + 1] = keys[n];
			keys[++n].op.kind = OP_GREY;
		}
		keys[n].op.id = digest(&keys[n], f, false);
		n++;
	}
	return n;
}

size_t rule_add_keys(struct rule *r, const struct meter_facts *f,
    struct meter_key keys[KEYS_PER_QUESTION_MAX], size_t n)
{
	for (uint8_t t = 0; t < r->tier_n; t++)
		if (!r->by_client || rule_tier_bits(&r->tiers[t], f) >= 0)
			n = add_tier(r, t, f, keys, n);
	return n;
}

size_t rule_add_users(struct rule *r, const struct meter_facts *f,
    struct meter_key keys[KEYS_PER_QUESTION_MAX], size_t n)
{
	for (uint8_t t = 0; t < r->tier_n && n < KEYS_PER_QUESTION_MAX; t++) {
		struct meter_key of = { .rule = r, .tier = t };
		if (rule_tier_bits(&r->tiers[t], f) < 0)
			continue;
		fill_op(&of, f);
		make_users_key(&of, f, &keys[n]);
		keys[n].op.cost = 1;
		keys[n++].op.who = user_digest(f->user);
	}
	return n;
}

/* ---- text ---- */

static void put_part(struct buf *out, struct span part)
{
	uint8_t raw[DIGEST_LEN_MAX];
	if (part.n <= PART_TEXT_MAX && span_find(part, '|') == SIZE_MAX) {
		buf_add_span(out, part);
		return;
	}
	digest_make(DIGEST_SHA256, part, raw);
	buf_add_char(out, '#');
	fmt_hex(out, span_of(raw, 16));
}

void rule_key_text(const struct meter_key *k, const struct meter_facts *f, struct buf *out)
{
	const struct rule *r = k->rule;
	char text[IP_TEXT_SIZE];
	put_part(out, span_str(r->name));
	if (r->by_client) {
		ip_prefix_text(rule_key_net(k, f), text);
		buf_add_char(out, '|');
		buf_add_str(out, text);
	}
	for (unsigned i = 0; i < PARTS && !op_is_helper(k->op.kind); i++)
		if ((r->parts & 1u << i) != 0) {
			buf_add_char(out, '|');
			put_part(out, rule_part(f, (enum rule_part)i));
		}
	if (k->window > 0)
		buf_printf(out, "#%u", k->window + 1u);
}

/* The other way. A domain's text is an address without a user, which has that domain. */
static void set_part(struct meter_facts *f, enum rule_part part, struct span text)
{
	switch (part) {
	case PART_USER:
	case PART_DOMAIN:
		f->user = f->user.n > 0 ? f->user : text;
		break;
	case PART_SENDER:
	case PART_SENDER_DOMAIN:
		f->sender = f->sender.n > 0 || span_eq(text, SPAN("<>")) ? f->sender : text;
		break;
	case PART_RECIPIENT:
		f->recipient = text;
		break;
	case PART_HELO:
		f->helo = text;
		break;
	case PART_LISTENER:
		f->listener = text;
		break;
	case PARTS:
		break;
	}
}

bool rule_key_facts(const struct rule *r, struct span text, struct meter_facts *out, int *bits_out)
{
	struct span rest = text;
	*out = (struct meter_facts){ .recipients = 1 };
	*bits_out = -1;
	if (r->by_client) {
		struct ip_prefix p;
		struct span net = span_cut(&rest, '|');
		if (ip_parse(net, &out->client))
			*bits_out = -1;
		else if (!ip_parse_prefix(net, &p))
			return false;
		else {
			out->client = p.addr;
			*bits_out = p.bits - (ip_is_v4(p.addr) ? 96 : 0);
		}
	}
	for (unsigned i = 0; i < PARTS; i++) {
		if ((r->parts & 1u << i) == 0)
			continue;
		if (rest.p == NULL)
			return false;
		set_part(out, (enum rule_part)i, span_cut(&rest, '|'));
	}
	return rest.p == NULL;
}
