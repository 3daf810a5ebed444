/* rule.c - compiles the rows of section metermaid and makes keys from facts. */
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "metermaid/rule.h"
#include "net/digest.h"

enum { V4_BITS = 32, V6_BITS = 64 };

/* One word of `key`; false when it means nothing. A number after client/N is the IPv6 length. */
static bool parse_key_word(struct rule *r, const char *text, bool *after_client)
{
	struct span word = span_str(text);
	struct span name = span_cut(&word, '/');
	uint64_t bits;
	bool was_client = *after_client;
	*after_client = false;
	if (was_client && span_u64(name, 128, &bits) && word.p == NULL) {
		r->v6_bits = (unsigned)bits;
		return true;
	}
	if (span_eq(name, SPAN("client"))) {
		r->by_client = true;
		*after_client = true;
		if (word.p == NULL)
			return true;
		if (!span_u64(span_cut(&word, '/'), 32, &bits))
			return false;
		r->v4_bits = (unsigned)bits;
		if (word.p != NULL && span_u64(word, 128, &bits))
			r->v6_bits = (unsigned)bits;
		return word.p == NULL || span_u64(word, 128, &bits);
	}
	if (word.p != NULL)
		return false;
	r->by_user = r->by_user || span_eq(name, SPAN("user"));
	r->by_sender = r->by_sender || span_eq(name, SPAN("sender"));
	return span_eq(name, SPAN("user")) || span_eq(name, SPAN("sender"));
}

/* The first word that cannot be understood, or NULL. */
static const char *compile_key(struct rule *r, const struct conf_strings *words)
{
	bool after_client = false;
	r->v4_bits = V4_BITS;
	r->v6_bits = V6_BITS;
	for (size_t i = 0; i < words->n; i++)
		if (!parse_key_word(r, words->v[i], &after_client))
			return words->v[i];
	return r->by_client || r->by_user || r->by_sender ? NULL : "";
}

static const char *compile(struct rule *r, const struct meter_rule_conf *c)
{
	static const enum meter_action actions[] = { METER_DEFER, METER_REFUSE, METER_DELAY };
	*r = (struct rule){
		.name = c->head.title,
		.moment = (enum meter_moment)c->on,
		.limit = bucket_limit_make(c->rate.count, c->rate.per_ms, (uint64_t)c->burst),
		.count = c->rate.count,
		.per_ms = c->rate.per_ms,
		.burst = (uint64_t)c->burst,
		.cost = (enum rule_cost_kind)c->cost,
		.action = actions[c->action],
		.on_loss = (enum rule_loss)c->on_loss,
		.exempt = &c->exempt,
	};
	return compile_key(r, &c->key);
}

struct rules *rules_new(const struct conf *conf)
{
	const struct metermaid_conf *m = conf_section(conf, &metermaid_block);
	struct rules *r = MEM_NEW(struct rules);
	r->refs = 1;
	r->conf = conf_ref(conf);
	for (size_t i = 0; i < m->rule_n && r->n < RULES_MAX; i++)
		if (compile(&r->v[r->n], m->rule[i]) == NULL)
			r->n++;
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

void metermaid_check(const struct conf *c, struct conf_diag *d)
{
	const struct metermaid_conf *m = conf_section(c, &metermaid_block);
	struct rule r;
	for (size_t i = 0; i < m->rule_n; i++) {
		const char *bad = compile(&r, m->rule[i]);
		if (bad != NULL)
			conf_error(d, m->rule[i]->head.pos,
			    "rule %s: key \"%s\" is none of client/V4BITS,V6BITS, user, sender",
			    m->rule[i]->head.title, bad);
		if (r.by_sender && r.moment != METER_MESSAGE)
			conf_error(d, m->rule[i]->head.pos,
			    "rule %s: the sender is known only on message", m->rule[i]->head.title);
		if (r.by_user && r.moment == METER_CONNECT)
			conf_error(d, m->rule[i]->head.pos,
			    "rule %s: the user is not known on connect", m->rule[i]->head.title);
	}
}

bool rule_applies(const struct rule *r, enum meter_moment moment, const struct meter_facts *f)
{
	return r->moment == moment && (!r->by_user || f->user.n > 0) &&
	       (!r->by_client || !ip_is_none(f->client)) && !ip_in_set(f->client, r->exempt);
}

uint64_t rule_cost(const struct rule *r, const struct meter_facts *f)
{
	if (r->cost == COST_RECIPIENTS)
		return f->recipients;
	return r->cost == COST_BYTES ? f->bytes : 1;
}

static void put_part(struct buf *out, struct span part)
{
	uint8_t digest[DIGEST_LEN_MAX];
	buf_add_char(out, '|');
	if (part.n <= PART_TEXT_MAX) {
		buf_add_span(out, part);
		return;
	}
	digest_make(DIGEST_SHA256, part, digest);
	buf_add_char(out, '#');
	fmt_hex(out, span_of(digest, 16));
}

void rule_key(const struct rule *r, const struct meter_facts *f, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	buf_add_span(out, span_first(span_str(r->name), PART_TEXT_MAX / 2));
	if (r->by_client) {
		unsigned bits = ip_is_v4(f->client) ? r->v4_bits : r->v6_bits;
		ip_prefix_text(ip_network(f->client, bits), text);
		buf_add_char(out, '|');
		buf_add_str(out, text);
	}
	if (r->by_user)
		put_part(out, f->user);
	if (r->by_sender)
		put_part(out, f->sender.n > 0 ? f->sender : SPAN("<>"));
}
