/* witness.c - see witness.h. Step behind judge.c; owns the record and the watchers of this worker. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metermaid/meter_internal.h"
#include "metermaid/record.h"
#include "metermaid/watch.h"
#include "metermaid/witness.h"

struct witness {
	struct metermaid *m;
	struct record *record;
	struct watchers *watchers;
	uint64_t last_us; /* of the line before: what follows it here stands behind it */
	uint32_t last_seq;
	uint64_t leases;  /* given so far */
	uint64_t pending; /* id of the lease that the last decision gives; 0: none */
};

static bool is_on(const struct witness *w)
{
	return record_is_on(w->record) || watchers_are_here(w->watchers);
}

/* By the clock of the state, as near as this worker knows it. */
static uint64_t about_now(const struct witness *w)
{
	return clock_mono_ms() * 1000 + meter_clock_ahead(w->m);
}

static uint64_t time_of(const struct witness *w, const struct op_answer *got)
{
	return got->us == 0 ? about_now(w) : got->us;
}

/* A time that is only about right is not before the line before. */
static void put_in_order(struct witness *w, const struct op_answer *got, struct decision *d)
{
	if ((got == NULL || got->us == 0) && d->us <= w->last_us) {
		d->us = w->last_us;
		d->seq = w->last_seq;
	}
	w->last_us = d->us;
	w->last_seq = d->seq;
}

static void write_line(struct witness *w, const struct op_answer *got, struct decision *d)
{
	struct buf line = BUF_INIT(DECISION_LINE_MAX);
	put_in_order(w, got, d);
	if (record_is_on(w->record) && decision_put(d, &line))
		record_add(w->record, buf_span(&line));
	buf_end(&line);
}

static void write_rules(void *arg)
{
	struct witness *w = arg;
	for (size_t i = 0; i < w->m->rules->n; i++) {
		const struct rule *r = &w->m->rules->v[i];
		struct decision d = { .letter = 'R', .us = about_now(w) };
		if (r->conf == NULL)
			continue;
		d.rule = span_str(r->name);
		d.key = w->m->redis != NULL ? SPAN("tier") : SPAN("host");
		d.is = conf_block_revision(&meter_rule_block, r->conf);
		write_line(w, NULL, &d);
	}
}

/* ---- decisions ---- */

static void put_tokens(const struct asking *a, const struct op_answer *got, struct buf *out)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct meter_key *k = &a->keys[i];
		if ((got->extra & UINT32_C(1) << i) == 0)
			continue;
		if (buf_len(out) > 0)
			buf_add_char(out, ',');
		decision_put_name(out, span_str(k->rule->name));
		buf_printf(out, "/%u/%u/%" PRIu64, k->tier, k->window, k->op.extra);
	}
}

/* Lists on which the client or the user is by command: no file of rules can tell. */
static void put_bans(const struct witness *w, const struct asking *a, struct buf *out)
{
	const struct metermaid *m = w->m;
	for (size_t i = 0; i < m->rules->n; i++) {
		const struct rule *r = &m->rules->v[i];
		if (r->kind != RULE_LIST || !rule_applies(r, a->moment, &a->f) ||
		    !bans_match(m->bans, r->name, a->f.client, a->f.user, clock_mono_ms()))
			continue;
		if (buf_len(out) > 0)
			buf_add_char(out, ',');
		decision_put_name(out, span_str(r->name));
	}
}

static bool gives_lease(const struct asking *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->keys[i].op.kind == OP_LEASE)
			return true;
	return false;
}

static void tell(
    struct witness *w, const struct asking *a, const struct op_answer *got, struct decision *d)
{
	struct buf bans = BUF_INIT(DECISION_LINE_MAX);
	d->moment = a->moment;
	d->mode = a->mode;
	d->f = a->f;
	put_bans(w, a, &bans);
	d->bans = buf_span(&bans);
	write_line(w, got, d);
	if (d->letter == 'D' && watchers_are_here(w->watchers))
		watchers_tell(w->watchers, d);
	buf_end(&bans);
}

void witness_decided(struct witness *w, const struct asking *a, const struct op_answer *got,
    enum decision_how how, const struct meter_answer *said)
{
	if (!is_on(w))
		return;
	struct buf tokens = BUF_INIT(DECISION_LINE_MAX);
	struct decision d = { .letter = a->mode == OP_FORCE ? 'C' : 'D',
		.us = time_of(w, got),
		.seq = got->seq,
		.how = how,
		.action = said->action,
		.disconnect = said->disconnect };
	if (got->index < a->n) {
		d.rule = span_str(a->keys[got->index].rule->name);
		d.tier = a->keys[got->index].tier;
		d.window = a->keys[got->index].window;
		d.wait_us = got->wait_us;
	}
	if (said->tag != NULL)
		d.tag = span_str(said->tag);
	if (d.letter == 'D' && gives_lease(a) && meter_lets_in(said))
		d.lease = w->pending = w->m->name + ++w->leases;
	put_tokens(a, got, &tokens);
	d.tokens = buf_span(&tokens);
	tell(w, a, got, &d);
	buf_end(&tokens);
}

void witness_decided_here(
    struct witness *w, const struct asking *a, const struct meter_answer *said)
{
	if (!is_on(w))
		return;
	struct decision d = { .letter = 'D',
		.us = about_now(w),
		.how = DECIDED_LOCAL,
		.action = said->action,
		.disconnect = said->disconnect,
		.rule = span_str(said->rule),
		.wait_us = said->retry_ms * 1000 };
	if (said->tag != NULL)
		d.tag = span_str(said->tag);
	tell(w, a, NULL, &d);
}

void witness_late(struct witness *w, const struct asking *a, const struct op_answer *got)
{
	if (!is_on(w) || a->quiet)
		return;
	struct buf tokens = BUF_INIT(DECISION_LINE_MAX);
	struct decision d = { .letter = 'C', .us = time_of(w, got), .seq = got->seq };
	put_tokens(a, got, &tokens);
	d.tokens = buf_span(&tokens);
	tell(w, a, got, &d);
	buf_end(&tokens);
}

void witness_learned(struct witness *w, const struct asking *a, const struct op_answer *got)
{
	struct decision d = { .letter = 'U',
		.us = time_of(w, got),
		.seq = got->seq,
		.f = { .client = a->f.client, .user = a->f.user } };
	for (size_t i = 0; i < a->n; i++)
		if (is_on(w) && (i == 0 || a->keys[i].rule != a->keys[i - 1].rule)) {
			d.rule = span_str(a->keys[i].rule->name);
			write_line(w, got, &d);
		}
}

void witness_lease_ended(struct witness *w, uint64_t id)
{
	struct decision d = { .letter = 'E', .us = about_now(w), .lease = id };
	write_line(w, NULL, &d);
}

void witness_lease(struct witness *w, struct meter_lease *l)
{
	uint64_t id = w->pending;
	w->pending = 0;
	if (id != 0 && l != NULL)
		hold_lease_name(l, id);
	else if (id != 0)
		witness_lease_ended(w, id);
}

void witness_reset(struct witness *w, const char *key, const char *rule)
{
	struct decision d = {
		.letter = 'Z', .us = about_now(w), .key = span_str(key), .rule = span_str(rule)
	};
	write_line(w, NULL, &d);
}

bool witness_watch(struct witness *w, const char *const *words, size_t n, struct buf *out)
{
	return watchers_ask(w->watchers, words, n, out);
}

/* ---- life ---- */

void witness_reload(struct witness *w)
{
	record_configure(w->record, conf_section(w->m->rules->conf, &metermaid_block));
	write_rules(w);
}

struct witness *witness_new(struct metermaid *m)
{
	struct witness *w = MEM_NEW(struct witness);
	w->m = m;
	w->record = record_new(m->loop, m->name, write_rules, w);
	w->watchers = watchers_new(m->loop);
	record_configure(w->record, conf_section(m->rules->conf, &metermaid_block));
	return w;
}

void witness_free(struct witness **w)
{
	struct witness *gone = *w;
	*w = NULL;
	if (gone == NULL)
		return;
	struct decision d = { .letter = 'X', .us = about_now(gone) };
	write_line(gone, NULL, &d);
	record_free(&gone->record);
	watchers_free(&gone->watchers);
	mem_free(gone);
}
