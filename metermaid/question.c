/* question.c - a question's life: where the state of its keys is now, who is answered when. Before: asking.c;
 * after: judge.c.
 *
 * Rules without state and keys this worker knows enough about are decided at once (local.c, hot.c).
 * The others go to the host's table, or wait for a batch to Redis: sent at the end of the loop round
 * when none is under way, else with its answer or after BATCH_MS. Owns the questions under way. */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "metermaid/batch.h"
#include "metermaid/meter_internal.h"

enum { BATCH_MS = 1 };

#define question_MAGIC 0x3e7e40e5u
#define group_MAGIC 0x3e7e4690u

enum question_state { Q_WAITING, Q_ASKED, Q_DONE };

struct question {
	struct ticket ticket; /* first: ticket_cancel() finds the question by it */
	uint32_t magic;
	struct metermaid *m;
	struct list_node link; /* in m->waiting, asked or done, as the state says */
	enum question_state state;
	meter_fn *fn; /* NULL: cancelled, or a charge nobody waits for */
	void *arg;
	struct timer deadline;
	struct soon answer_soon;
	struct meter_answer answer;
	struct rules *rules; /* one reference: the answer names a rule of it */
	bool in_batch;       /* a batch will answer: the memory must stay until then */
	struct buf text;     /* the facts' bytes */
	size_t hold_n;       /* holds that expect an answer */
	struct hold *holds[LEASE_KEYS_MAX];
	struct asking a; /* last: only as many keys as there are */
};

struct group {
	uint32_t magic;
	struct metermaid *m;
	size_t n;
	struct question *v[BATCH_QUESTIONS_MAX];
};

static uint64_t now_us(void)
{
	return clock_mono_ms() * 1000;
}

static void ops_of(const struct asking *a, struct op ops[OPS_MAX])
{
	for (size_t i = 0; i < a->n; i++)
		ops[i] = a->keys[i].op;
}

/* ---- at once ---- */

static bool try_hot(struct metermaid *m, const struct asking *a, struct op_answer *out)
{
	struct hot_cell *cells[OPS_MAX];
	struct op ops[OPS_MAX];
	struct op_now now = { now_us(), a->mode };
	if (a->mode == OP_FORCE)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		enum op_kind kind = a->keys[i].op.kind;
		bool may = kind == OP_RATE || kind == OP_COUNTER;
		cells[i] = may ? hot_touch(m->hot, a->keys[i].op.id, now.us) : NULL;
	}
	ops_of(a, ops);
	return hot_decide(cells, ops, a->n, now, out);
}

static void learn(struct metermaid *m, const struct asking *a, const struct op_answer *got)
{
	m->ahead_us = got->us - now_us();
	for (size_t i = 0; i < a->n; i++) {
		struct hot_cell *c = hot_find(m->hot, a->keys[i].op.id);
		if (c != NULL)
			hot_learn(c, &a->keys[i].op, (struct hot_answer){ got, i }, now_us());
	}
}

static size_t find_holds(
    struct metermaid *m, const struct asking *a, struct hold *out[LEASE_KEYS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < a->n && n < LEASE_KEYS_MAX && !a->peek; i++) {
		if (a->keys[i].op.kind != OP_LEASE)
			continue;
		struct buf text = BUF_INIT(KEY_TEXT_MAX);
		rule_key_text(&a->keys[i], &a->f, &text);
		struct hold *h = hold_get(m->holds, &a->keys[i].op, buf_span(&text));
		buf_end(&text);
		if (h == NULL)
			continue;
		hold_expect(h, true);
		out[n++] = h;
	}
	return n;
}

static void ask_host(struct metermaid *m, const struct asking *a, struct meter_answer *out)
{
	struct op ops[OPS_MAX];
	struct hold *holds[LEASE_KEYS_MAX];
	ops_of(a, ops);
	struct op_answer got = table_question(
	    meter_host_table(), ops, a->n, (struct op_now){ meter_host_now_us(), a->mode });
	learn(m, a, &got);
	judge(m, a, &got, out);
	size_t n = find_holds(m, a, holds);
	if (meter_lets_in(out))
		out->lease = holds_lease(m->holds, holds, n);
	witness_lease(m->witness, out->lease);
	for (size_t i = 0; i < n; i++)
		hold_expect(holds[i], false);
}

/* This worker's part of a count. */
static uint64_t share_of(const struct metermaid *m, uint64_t count)
{
	return count / m->live_workers > 0 ? count / m->live_workers : 1;
}

/* Redis is away or late: rules that share answer from this worker's part, the others as they say. */
static size_t ops_on_loss(
    struct metermaid *m, const struct asking *a, struct op ops[OPS_MAX], size_t from[OPS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < a->n; i++) {
		enum op_kind kind = a->keys[i].op.kind;
		if (a->keys[i].rule->on_loss != LOSS_SHARE ||
		    (kind > OP_COUNTER && kind != OP_USERS))
			continue;
		struct op *op = &ops[n];
		*op = a->keys[i].op;
		if (kind != OP_USERS) { /* a rate's count is only the measure of what it grows by */
			op->rate = bucket_limit_share(op->rate, m->live_workers);
			op->count = kind == OP_COUNTER ? share_of(m, op->count) : op->count;
			op->grow = kind == OP_COUNTER ? share_of(m, op->grow) : op->grow;
		}
		from[n++] = i;
	}
	return n;
}

/* What this worker holds is known here: an equal share of the limit is its own. */
static void weigh_leases(struct metermaid *m, const struct asking *a, struct op_answer *out)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct op *op = &a->keys[i].op;
		if (op->kind != OP_LEASE || a->keys[i].rule->on_loss != LOSS_SHARE)
			continue;
		struct buf text = BUF_INIT(KEY_TEXT_MAX);
		rule_key_text(&a->keys[i], &a->f, &text);
		struct op_look look = { .wait_us = 0 };
		if (holds_count(m->holds, buf_span(&text)) + op->cost > share_of(m, op->count))
			look.wait_us = LEASE_RETRY_US;
		op_weigh(op, i, &look, out);
		buf_end(&text);
	}
}

static struct op_answer ask_on_loss(struct metermaid *m, const struct asking *a)
{
	struct op ops[OPS_MAX];
	size_t from[OPS_MAX], n = ops_on_loss(m, a, ops, from);
	struct op_now now = { now_us(), a->mode };
	for (size_t i = 0; i < a->n && a->mode != OP_FORCE; i++)
		if (a->keys[i].rule->on_loss == LOSS_CLOSED && a->keys[i].op.over != OVER_NOTED)
			return (struct op_answer){ .index = i,
				.wait_us = 1000000,
				.hard = true,
				.over = UINT32_C(1) << i };
	struct op_answer some = table_question(m->share, ops, n, now), all = { .index = a->n };
	all.wait_us = some.wait_us;
	all.hard = some.hard;
	if (some.index < n)
		all.index = from[some.index];
	for (size_t i = 0; i < n; i++)
		if ((some.over & UINT32_C(1) << i) != 0)
			all.over |= UINT32_C(1) << from[i];
	weigh_leases(m, a, &all);
	return all;
}

/* True: *out is the answer. a->keys are gathered in any case. */
static bool decide_now(struct metermaid *m, struct asking *a, struct meter_answer *out)
{
	struct op_answer got;
	if (try_hot(m, a, &got)) {
		judge_hot(m, a, &got, out);
		return true;
	}
	if (m->redis != NULL)
		return false;
	ask_host(m, a, out);
	return true;
}

/* ---- a question's life ---- */

static void close_holds(struct question *q, bool doubt)
{
	for (size_t i = 0; i < q->hold_n; i++) {
		if (doubt)
			hold_doubt(q->holds[i]);
		hold_expect(q->holds[i], false);
	}
	q->hold_n = 0;
}

static void leave_waiting(struct question *q)
{
	if (q->state == Q_WAITING)
		q->m->waiting_n--;
}

static void question_free(struct question *q)
{
	leave_waiting(q);
	list_remove(&q->link);
	close_holds(q, q->in_batch || q->state == Q_DONE);
	meter_release(&q->answer.lease);
	timer_clear(&q->deadline);
	soon_clear(&q->answer_soon);
	rules_unref(&q->rules);
	buf_end(&q->text);
	q->magic = 0;
	mem_free(q);
}

static void question_cancel(struct ticket *t)
{
	struct question *q = OBJ(question, t);
	q->fn = NULL;
	meter_release(&q->answer.lease);
	if (!q->in_batch)
		question_free(q);
}

static void give_answer(void *arg)
{
	struct question *q = OBJ(question, arg);
	meter_fn *fn = q->fn;
	void *fn_arg = q->arg;
	struct meter_answer answer = q->answer;
	struct rules *rules = rules_ref(q->rules);
	q->fn = NULL;
	if (fn != NULL)
		q->answer.lease = NULL; /* the asker's now */
	if (!q->in_batch)
		question_free(q);
	if (fn != NULL)
		fn(fn_arg, &answer);
	rules_unref(&rules);
}

static void settle(struct question *q, const struct op_answer *got, bool degraded)
{
	leave_waiting(q);
	list_remove(&q->link);
	list_add_tail(&q->m->done, &q->link);
	q->state = Q_DONE;
	timer_clear(&q->deadline);
	q->answer.degraded = degraded;
	judge(q->m, &q->a, got, &q->answer);
	if (meter_lets_in(&q->answer) && q->fn != NULL)
		q->answer.lease = holds_lease(q->m->holds, q->holds, q->hold_n);
	witness_lease(q->m->witness, q->answer.lease);
}

static void on_question_deadline(void *arg)
{
	struct question *q = OBJ(question, arg);
	metric_add(&meter_metrics[METER_M_LATE], 1);
	struct op_answer got = ask_on_loss(q->m, &q->a);
	settle(q, &got, true);
	give_answer(q);
}

static void answer_of_group(struct question *q, const struct op_answer *got)
{
	q->in_batch = false;
	if (q->state == Q_DONE || (q->fn == NULL && q->a.mode != OP_FORCE)) {
		/* was late, or nobody asks any more: leases that were taken are given back */
		if (got != NULL)
			witness_late(q->m->witness, &q->a, got);
		close_holds(q, true);
		question_free(q);
		return;
	}
	struct op_answer lost;
	if (got == NULL)
		lost = ask_on_loss(q->m, &q->a);
	else
		learn(q->m, &q->a, got);
	settle(q, got != NULL ? got : &lost, got == NULL);
	close_holds(q, got == NULL);
	give_answer(q);
}

static void group_done(void *arg, const struct op_answer *answers)
{
	struct group *g = OBJ(group, arg);
	struct metermaid *m = g->m;
	m->batches--;
	for (size_t i = 0; i < g->n; i++)
		answer_of_group(g->v[i], answers != NULL ? &answers[i] : NULL);
	g->magic = 0;
	mem_free(g);
	if (m->waiting_n > 0)
		soon_set(m->loop, &m->flush);
}

/* How many share the tokens of a hot key; 0: none are taken, since not everybody knows of this worker.
 * At its second roll call all others have had one of theirs. */
static uint64_t token_workers(const struct metermaid *m)
{
	return m->roll_calls >= 2 ? m->live_workers : 0;
}

static void put_question(struct batch *b, struct question *q)
{
	struct metermaid *m = q->m;
	batch_question(b, q->a.mode, q->a.n);
	for (size_t i = 0; i < q->a.n; i++) {
		struct meter_key *k = &q->a.keys[i];
		struct hot_cell *c = q->a.mode == OP_TAKE ? hot_find(m->hot, k->op.id) : NULL;
		struct buf text = BUF_INIT(KEY_TEXT_MAX);
		k->op.extra = c != NULL ? hot_want(c, &k->op, token_workers(m), now_us()) : 0;
		rule_key_text(k, &q->a.f, &text);
		batch_op(b, &k->op, buf_span(&text));
		buf_end(&text);
	}
}

static void send_group(struct metermaid *m)
{
	struct batch *b = batch_begin(m->redis);
	struct group *g = MEM_NEW(struct group);
	g->magic = group_MAGIC;
	g->m = m;
	while (!list_empty(&m->waiting)) {
		struct question *q = LIST_OF(struct question, link, m->waiting.next);
		if (!batch_has_room(b, q->a.n))
			break;
		leave_waiting(q);
		list_remove(&q->link);
		put_question(b, q);
		q->state = Q_ASKED;
		q->in_batch = true;
		list_add_tail(&m->asked, &q->link);
		g->v[g->n++] = q;
	}
	m->batches++;
	if (!batch_send(&b, group_done, g))
		group_done(g, NULL);
}

void question_late(void *metermaid)
{
	struct metermaid *m = OBJ(metermaid, metermaid);
	timer_clear(&m->flush_late);
	while (!list_empty(&m->waiting))
		send_group(m);
	redis_link_push(m->redis);
}

void question_send(void *metermaid)
{
	struct metermaid *m = OBJ(metermaid, metermaid);
	if (m->batches == 0 || m->waiting_n >= BATCH_QUESTIONS_MAX)
		question_late(m);
	else if (!timer_armed(&m->flush_late))
		timer_set(&m->flush_late, BATCH_MS);
}

void question_forget(struct metermaid *m)
{
	for (struct list_node *n = m->asked.next; n != &m->asked; n = n->next)
		LIST_OF(struct question, link, n)->fn = NULL;
}

void question_free_all(struct metermaid *m)
{
	struct list_node *lists[] = { &m->waiting, &m->asked, &m->done };
	for (size_t i = 0; i < COUNT_OF(lists); i++)
		while (!list_empty(lists[i]))
			question_free(LIST_OF(struct question, link, lists[i]->next));
}

/* ---- asking ---- */

static void keep_span(struct question *q, struct span *s)
{
	size_t at = buf_len(&q->text);
	buf_add_span(&q->text, *s);
	s->p = buf_span(&q->text).p + at;
}

static void keep_facts(struct question *q)
{
	struct meter_facts *f = &q->a.f;
	struct span *all[] = { &f->user, &f->sender, &f->recipient, &f->helo, &f->listener };
	size_t sum = 1;
	char *unused;
	for (size_t i = 0; i < COUNT_OF(all); i++)
		sum += all[i]->n;
	q->text = BUF_INIT(sum);
	buf_room(&q->text, sum, &unused); /* so that it does not move */
	for (size_t i = 0; i < COUNT_OF(all); i++)
		keep_span(q, all[i]);
}

static struct question *question_new(struct metermaid *m, const struct asking *a)
{
	size_t size = offsetof(struct question, a.keys) + a->n * sizeof a->keys[0];
	struct question *q = mem_alloc(size);
	q->magic = question_MAGIC;
	q->ticket.cancel = question_cancel;
	q->m = m;
	q->rules = rules_ref(m->rules);
	timer_init(&q->deadline, m->loop, on_question_deadline, q);
	soon_init(&q->answer_soon, give_answer, q);
	memcpy(&q->a, a, offsetof(struct asking, keys) + a->n * sizeof a->keys[0]);
	keep_facts(q);
	return q;
}

/* From inside the asking call: what is known is told in the next round. */
static void answer_soon(struct question *q)
{
	q->state = Q_DONE;
	list_add_tail(&q->m->done, &q->link);
	soon_set(q->m->loop, &q->answer_soon);
}

static void wait_for_batch(struct question *q)
{
	struct metermaid *m = q->m;
	const struct metermaid_conf *c = conf_section(m->rules->conf, &metermaid_block);
	q->hold_n = find_holds(m, &q->a, q->holds);
	q->state = Q_WAITING;
	list_add_tail(&m->waiting, &q->link);
	m->waiting_n++;
	if (!redis_link_is_up(m->redis)) {
		struct op_answer got = ask_on_loss(m, &q->a);
		settle(q, &got, true);
		close_holds(q, true);
		soon_set(m->loop, &q->answer_soon);
		return;
	}
	timer_set(&q->deadline, c->deadline);
	soon_set(m->loop, &m->flush);
}

void question_charge(struct metermaid *m, const struct asking *a)
{
	struct meter_answer answer = { .lease = NULL };
	if (m->redis != NULL) {
		wait_for_batch(question_new(m, a));
		return;
	}
	ask_host(m, a, &answer);
	meter_release(&answer.lease);
}

struct asked_for {
	enum local local;
	bool decided;
	struct meter_answer answer;
	struct asking a;
	struct fold fold;
};

static void begin(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    struct asked_for *out)
{
	asking_begin(&out->a, moment, f, &out->fold);
	learned_note(m, moment, &out->a.f);
	/* logins are charged when they fail, by meter_charge() */
	out->a.mode = moment == METER_AUTH ? OP_PEEK : OP_TAKE;
	out->local = asking_judge(m, &out->a, &out->answer);
	out->decided = out->local == LOCAL_DECIDED;
	if (out->decided) {
		witness_decided_here(m->witness, &out->a, &out->answer);
		return;
	}
	asking_gather(m, &out->a);
	if (out->a.n == 0)
		out->decided = true;
	else
		out->decided = decide_now(m, &out->a, &out->answer);
}

bool meter_ask_now(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    struct meter_answer *answer_out)
{
	struct asked_for q;
	begin(m, moment, f, &q);
	if (q.decided)
		*answer_out = q.answer;
	return q.decided;
}

struct ticket *meter_ask(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    meter_fn *fn, void *arg)
{
	struct asked_for asked;
	begin(m, moment, f, &asked);
	if (asked.local == LOCAL_NOTHING && asked.a.n == 0)
		return NULL;
	metric_add(&meter_metrics[METER_M_ASKED], 1);
	struct question *q = question_new(m, &asked.a);
	q->fn = fn;
	q->arg = arg;
	q->answer = asked.answer;
	if (asked.decided)
		answer_soon(q);
	else
		wait_for_batch(q);
	return &q->ticket;
}

void meter_charge(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	struct asking a;
	struct fold fold;
	asking_begin(&a, moment, f, &fold);
	a.mode = OP_FORCE;
	asking_gather(m, &a);
	if (a.n > 0)
		question_charge(m, &a);
}

struct meter_lease *meter_hold(
    struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	struct hold *holds[LEASE_KEYS_MAX];
	struct asking a;
	struct fold fold;
	asking_begin(&a, moment, f, &fold);
	asking_gather(m, &a);
	size_t n = find_holds(m, &a, holds);
	struct meter_lease *l = holds_lease(m->holds, holds, n);
	for (size_t i = 0; i < n; i++) {
		hold_doubt(holds[i]);
		hold_expect(holds[i], false);
	}
	return l;
}

static void put_rules(struct metermaid *m, const struct asking *a, struct buf *out)
{
	for (size_t i = 0; i < m->rules->n; i++) {
		const struct rule *r = &m->rules->v[i];
		if ((r->kind == RULE_LIST || r->never) && rule_applies(r, a->moment, &a->f))
			buf_printf(out, "%s%s", buf_len(out) > 0 ? ", " : "", r->name);
	}
	for (size_t i = 0; i < a->n; i++) {
		struct buf text = BUF_INIT(KEY_TEXT_MAX);
		if (op_is_helper(a->keys[i].op.kind))
			continue;
		rule_key_text(&a->keys[i], &a->f, &text);
		buf_printf(out, "%s%.*s", buf_len(out) > 0 ? ", " : "", SPAN_ARG(buf_span(&text)));
		buf_end(&text);
	}
}

struct ticket *meter_peek(
    struct metermaid *m, const struct meter_look *look, meter_fn *fn, void *arg)
{
	struct asked_for asked = { .decided = false };
	asking_begin_peek(&asked.a, look->moment, look->facts, &asked.fold);
	asked.local = asking_judge(m, &asked.a, &asked.answer);
	asking_gather(m, &asked.a);
	put_rules(m, &asked.a, look->rules_out);
	if (asked.local == LOCAL_NOTHING && asked.a.n == 0)
		return NULL;
	bool known = asked.local == LOCAL_DECIDED || asked.a.n == 0;
	if (!known && m->redis == NULL) {
		ask_host(m, &asked.a, &asked.answer);
		known = true;
	}
	struct question *q = question_new(m, &asked.a);
	q->fn = fn;
	q->arg = arg;
	q->answer = asked.answer;
	if (known)
		answer_soon(q);
	else
		wait_for_batch(q);
	return &q->ticket;
}
