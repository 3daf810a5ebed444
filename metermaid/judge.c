/* judge.c - what an answer means: counters, the log, bans, and what the asker is told. */
#include "metermaid/meter_internal.h"
#include "metermaid/rule_metric.h"

enum { DELAY_MAX_MS = 30000, TELL_AFTER = 16 };

void rule_count(struct rule *r, bool over)
{
	if (over)
		r->over++;
	else
		r->asked++;
	rule_metric_add(r->slot, over);
}

static bool is_over(const struct op_answer *got, size_t i)
{
	return (got->over & UINT32_C(1) << i) != 0;
}

/* The rule's keys stand together: is i the last of them, and is any of them beyond its limit? */
static bool is_last_of_rule(const struct asking *a, size_t i)
{
	return i + 1 == a->n || a->keys[i + 1].rule != a->keys[i].rule;
}

static void put_tag(const struct rule *r, struct meter_answer *out)
{
	if (r->action == ACT_TAG)
		out->tag = r->tag;
}

static void count(const struct asking *a, const struct op_answer *got, struct meter_answer *out)
{
	bool over = false;
	for (size_t i = 0; i < a->n; i++) {
		struct rule *r = a->keys[i].rule;
		over = over || is_over(got, i);
		if (!is_last_of_rule(a, i))
			continue;
		rule_count(r, false);
		if (over) {
			rule_count(r, true);
			put_tag(r, out);
		}
		over = false;
	}
	metric_add(&meter_metrics[got->index < a->n ? METER_M_REFUSED : METER_M_PASSED], 1);
	if (out->degraded)
		metric_add(&meter_metrics[METER_M_DEGRADED], 1);
}

static void decide(const struct asking *a, const struct op_answer *got, struct meter_answer *out)
{
	if (got->index >= a->n)
		return;
	const struct rule *r = a->keys[got->index].rule;
	local_act(r, out);
	out->retry_ms = (got->wait_us + 999) / 1000;
	if (out->action == METER_DELAY && out->retry_ms > DELAY_MAX_MS)
		out->retry_ms = DELAY_MAX_MS;
}

/* ---- for people ---- */

static void log_over(const struct rule *r, struct span key, const struct meter_answer *out)
{
	bool noted = r->action == ACT_SHADOW || r->action == ACT_TAG;
	log_write(&meter_events[noted ? METER_EV_NOTED : METER_EV_REFUSED], NULL,
	    LOG_FIELDS(LOG_STR("rule", r->name), LOG_SPAN("key", key),
		LOG_STR("action", rule_actions[r->action]), LOG_U64("retry_ms", out->retry_ms),
		LOG_STR("degraded", out->degraded ? "yes" : "no")));
}

/* Who has gone beyond the limit is put on a list: the network that was counted, else the user. */
static void ban(struct metermaid *m, const struct asking *a, const struct meter_key *k)
{
	const struct rule *r = k->rule;
	char text[IP_TEXT_SIZE];
	struct span who = a->f.user;
	if (r->by_client) {
		ip_prefix_text(rule_key_net(k, &a->f), text);
		who = span_str(text);
	}
	if (who.n > 0 && bans_sync_put(m, r->ban_list, who, r->ban_ms))
		log_write(&meter_events[METER_EV_BANNED], NULL,
		    LOG_FIELDS(LOG_STR("rule", r->name), LOG_STR("list", r->ban_list),
			LOG_SPAN("key", who), LOG_U64("for_s", r->ban_ms / 1000)));
}

/* The text of a key is made only when somebody is told: light keys every TELL_AFTER questions. */
static void tell(struct metermaid *m, const struct asking *a, size_t i, const struct op_answer *got)
{
	bool over = is_over(got, i);
	const struct meter_key *k = &a->keys[i];
	struct hot_cell *c = hot_find(m->hot, k->op.id);
	uint64_t seen = 1, refused = over;
	if (c != NULL) {
		seen = ++c->seen;
		refused = c->refused += over;
		if (!over && seen < TELL_AFTER && refused == 0)
			return;
		c->seen = c->refused = 0;
	}
	struct buf text = BUF_INIT(KEY_TEXT_MAX);
	rule_key_text(k, &a->f, &text);
	observed_note(m->observed, &(struct observation){ .key = k,
				       .text = buf_span(&text),
				       .seen = seen,
				       .refused = refused,
				       .wait_us = got->index == i ? got->wait_us : 0 });
	buf_end(&text);
}

void judge(struct metermaid *m, const struct asking *a, const struct op_answer *got,
    struct meter_answer *out)
{
	if (a->peek) {
		decide(a, got, out);
		return;
	}
	if (a->quiet) {
		witness_learned(m->witness, a, got);
		return;
	}
	decide(a, got, out);
	count(a, got, out);
	for (size_t i = 0; i < a->n; i++) {
		const struct meter_key *k = &a->keys[i];
		bool over = is_over(got, i), decided = got->index == i;
		if (op_is_helper(k->op.kind))
			continue;
		tell(m, a, i, got);
		if (!over || (!decided && k->op.over != OVER_NOTED))
			continue;
		struct buf text = BUF_INIT(KEY_TEXT_MAX);
		rule_key_text(k, &a->f, &text);
		log_over(k->rule, buf_span(&text), out);
		buf_end(&text);
		if (k->rule->ban_ms > 0)
			ban(m, a, k);
	}
	witness_decided(m->witness, a, got, out->degraded ? DECIDED_LOST : DECIDED_ASKED, out);
}

void judge_hot(struct metermaid *m, const struct asking *a, const struct op_answer *got,
    struct meter_answer *out)
{
	decide(a, got, out);
	count(a, got, out);
	for (size_t i = 0; i < a->n; i++) {
		struct hot_cell *c = hot_find(m->hot, a->keys[i].op.id);
		if (c == NULL)
			continue;
		c->seen++;
		c->refused += is_over(got, i);
	}
	witness_decided(m->witness, a, got, got->hard ? DECIDED_KEPT : DECIDED_TOKENS, out);
}
