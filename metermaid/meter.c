/* meter.c - asks: which rules apply, where their state is now, what the answer means.
 *
 * A question gathers its keys (rule.c), waits for the end of the loop round with others, goes to Redis
 * in one batch (batch.c), or to the table of this host (table.c). Owns the questions under way. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/batch.h"
#include "metermaid/metermaid.h"
#include "metermaid/observed.h"

enum {
	SHARED_KEYS = 65536, /* made before the configuration is known to this library */
	PRIVATE_KEYS = 8192,
	ROLL_CALL_MS = 5000, /* workers tell Redis that they live */
	ROLL_CALL_DEAD_MS = 16000,
	DELAY_MAX_MS = 30000,
};

#define metermaid_MAGIC 0x3e7e4a1du
#define question_MAGIC 0x3e7e40e5u

enum question_state { Q_WAITING, Q_ASKED, Q_DONE };

struct question {
	struct ticket ticket; /* first: ticket_cancel() finds the question by it */
	uint32_t magic;
	struct metermaid *m;
	struct list_node link; /* in m->waiting while Q_WAITING, m->asked while Q_ASKED */
	enum question_state state;
	meter_fn *fn; /* NULL: cancelled, or a charge nobody waits for */
	void *arg;
	struct timer deadline;
	struct soon answer_soon;
	struct meter_answer answer;
	struct rules *rules; /* one reference: the answer names a rule of it */
	enum bucket_mode mode;
	size_t n;
	struct meter_key keys[KEYS_PER_QUESTION_MAX];
	struct buf text; /* the keys' bytes */
	bool in_batch;   /* a batch will answer: the memory must stay until then */
};

struct group {
	uint32_t magic;
	size_t n;
	struct question *v[BATCH_QUESTIONS_MAX];
};
#define group_MAGIC 0x3e7e4690u

struct metermaid {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	struct rules *rules;      /* current */
	struct conf *conf;        /* the link borrows from it */
	struct redis_link *redis; /* NULL: none configured */
	struct table *share;      /* while Redis is away; private to this worker */
	struct observed *observed;
	struct list_node waiting, asked, done;
	struct soon flush;
	struct timer roll_call;
	char name[40]; /* of this worker in the roll call */
	uint64_t live_workers;
};

/* Made by metermaid_prepare() in the master, inherited by every worker. */
static struct table *host_table;

void metermaid_prepare(void)
{
	metric_register(meter_metrics, METER_M_COUNT);
	if (host_table == NULL)
		host_table = table_new_shared(SHARED_KEYS);
}

/* ---- a question's life ---- */

static void question_free(struct question *q)
{
	list_remove(&q->link);
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
	if (!q->in_batch)
		question_free(q);
	if (fn != NULL)
		fn(fn_arg, &answer);
	rules_unref(&rules);
}

static void log_refusal(const struct question *q, const struct table_answer *a)
{
	struct span key = q->keys[a->index].ask.key;
	if (q->fn != NULL)
		log_write(&meter_events[METER_EV_REFUSED], NULL,
		    LOG_FIELDS(LOG_STR("rule", q->answer.rule), LOG_SPAN("key", key),
			LOG_U64("retry_ms", q->answer.retry_ms),
			LOG_STR("degraded", q->answer.degraded ? "yes" : "no")));
}

static void judge(struct question *q, const struct table_answer *a, bool degraded)
{
	struct metermaid *m = q->m;
	bool limited = a->index < q->n;
	q->answer =
	    (struct meter_answer){ .action = METER_ALLOW, .rule = "", .degraded = degraded };
	for (size_t i = 0; i < q->n; i++) {
		struct rule *r = q->keys[i].rule;
		r->asked++;
		observed_note(
		    m->observed, r, q->keys[i].ask.key, limited && a->index == i ? a->wait_us : 0);
	}
	metric_add(&meter_metrics[limited ? METER_M_REFUSED : METER_M_PASSED], 1);
	if (degraded)
		metric_add(&meter_metrics[METER_M_DEGRADED], 1);
	if (!limited)
		return;
	struct rule *r = q->keys[a->index].rule;
	r->refused++;
	q->answer.action = r->action;
	q->answer.rule = r->name;
	q->answer.retry_ms = (a->wait_us + 999) / 1000;
	if (r->action == METER_DELAY && q->answer.retry_ms > DELAY_MAX_MS)
		q->answer.retry_ms = DELAY_MAX_MS;
	log_refusal(q, a);
}

/* From a place where the asker may be called. */
static void finish(struct question *q, const struct table_answer *a, bool degraded)
{
	if (q->state != Q_DONE) {
		q->state = Q_DONE;
		timer_clear(&q->deadline);
		judge(q, a, degraded);
	}
	give_answer(q);
}

/* From inside the asking call. */
static void finish_soon(struct question *q, const struct table_answer *a, bool degraded)
{
	q->state = Q_DONE;
	list_remove(&q->link);
	list_add_tail(&q->m->done, &q->link);
	timer_clear(&q->deadline);
	judge(q, a, degraded);
	soon_set(q->m->loop, &q->answer_soon);
}

/* ---- without Redis ---- */

static struct table_answer ask_table(struct question *q, struct table *t)
{
	struct table_ask asks[KEYS_PER_QUESTION_MAX];
	for (size_t i = 0; i < q->n; i++)
		asks[i] = q->keys[i].ask;
	return table_question(t, asks, q->n, q->mode, clock_mono_ms() * 1000);
}

/* Redis is away or late: the rules that share answer from this worker's part, the others as they say. */
static struct table_answer ask_on_loss(struct question *q)
{
	struct table_ask asks[KEYS_PER_QUESTION_MAX];
	size_t from[KEYS_PER_QUESTION_MAX], n = 0;
	for (size_t i = 0; i < q->n; i++) {
		const struct rule *r = q->keys[i].rule;
		if (r->on_loss == LOSS_CLOSED && q->mode != BUCKET_FORCE)
			return (
			    struct table_answer){ .index = i, .wait_us = 1000000, .hard = true };
		if (r->on_loss != LOSS_SHARE)
			continue;
		asks[n] = q->keys[i].ask;
		asks[n].limit = bucket_limit_share(asks[n].limit, q->m->live_workers);
		from[n++] = i;
	}
	struct table_answer a =
	    table_question(q->m->share, asks, n, q->mode, clock_mono_ms() * 1000);
	a.index = a.index < n ? from[a.index] : q->n;
	return a;
}

static void on_question_deadline(void *arg)
{
	struct question *q = OBJ(question, arg);
	metric_add(&meter_metrics[METER_M_LATE], 1);
	struct table_answer a = ask_on_loss(q);
	finish(q, &a, true);
}

/* ---- with Redis ---- */

static void group_done(void *arg, const struct table_answer *answers)
{
	struct group *g = OBJ(group, arg);
	for (size_t i = 0; i < g->n; i++) {
		struct question *q = g->v[i];
		q->in_batch = false;
		if (q->state == Q_DONE || (q->fn == NULL && q->mode != BUCKET_FORCE)) {
			question_free(q); /* was late, or nobody asks any more */
			continue;
		}
		struct table_answer a = answers != NULL ? answers[i] : ask_on_loss(q);
		finish(q, &a, answers == NULL);
	}
	g->magic = 0;
	mem_free(g);
}

static void send_group(struct metermaid *m)
{
	struct batch_question questions[BATCH_QUESTIONS_MAX];
	struct group *g = MEM_NEW(struct group);
	struct list_node *n;
	g->magic = group_MAGIC;
	while (g->n < BATCH_QUESTIONS_MAX && (n = list_pop(&m->waiting)) != NULL) {
		struct question *q = LIST_OF(struct question, link, n);
		questions[g->n] = (struct batch_question){ q->mode, q->keys, q->n };
		q->state = Q_ASKED;
		q->in_batch = true;
		list_add_tail(&m->asked, &q->link);
		g->v[g->n++] = q;
	}
	if (!batch_send(m->redis, questions, g->n, group_done, g))
		group_done(g, NULL);
}

static void on_flush(void *arg)
{
	struct metermaid *m = OBJ(metermaid, arg);
	while (!list_empty(&m->waiting))
		send_group(m);
}

/* ---- asking ---- */

static struct question *question_new(
    struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	struct question *q = NULL;
	for (size_t i = 0; i < m->rules->n; i++) {
		struct rule *r = &m->rules->v[i];
		if (!rule_applies(r, moment, f))
			continue;
		if (q == NULL) {
			q = MEM_NEW(struct question);
			q->magic = question_MAGIC;
			q->text = BUF_INIT(KEYS_PER_QUESTION_MAX * (KEY_TEXT_MAX * 2));
		}
		if (q->n == KEYS_PER_QUESTION_MAX)
			break;
		struct meter_key *k = &q->keys[q->n++];
		size_t at = buf_len(&q->text);
		rule_key(r, f, &q->text);
		k->rule = r;
		k->ask = (struct table_ask){ .key = { NULL, buf_len(&q->text) - at },
			.limit = r->limit,
			.cost = rule_cost(r, f),
			.soft = r->action == METER_DELAY };
	}
	if (q == NULL)
		return NULL;
	struct span all = buf_span(&q->text);
	for (size_t i = 0, at = 0; i < q->n; at += q->keys[i++].ask.key.n)
		q->keys[i].ask.key.p = all.p + at;
	return q;
}

static void start(struct metermaid *m, struct question *q)
{
	const struct metermaid_conf *c = conf_section(m->conf, &metermaid_block);
	struct table_answer a;
	q->ticket.cancel = question_cancel;
	q->m = m;
	q->rules = rules_ref(m->rules);
	timer_init(&q->deadline, m->loop, on_question_deadline, q);
	soon_init(&q->answer_soon, give_answer, q);
	metric_add(&meter_metrics[METER_M_ASKED], 1);
	if (m->redis == NULL || !redis_link_is_up(m->redis)) {
		a = m->redis == NULL ? ask_table(q, host_table) : ask_on_loss(q);
		finish_soon(q, &a, m->redis != NULL);
		return;
	}
	timer_set(&q->deadline, c->deadline);
	list_add_tail(&m->waiting, &q->link);
	soon_set(m->loop, &m->flush);
}

struct ticket *meter_ask(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f,
    meter_fn *fn, void *arg)
{
	struct question *q = question_new(m, moment, f);
	if (q == NULL)
		return NULL;
	q->fn = fn;
	q->arg = arg;
	/* logins are charged when they fail, by meter_charge() */
	q->mode = moment == METER_AUTH ? BUCKET_PEEK : BUCKET_TAKE;
	start(m, q);
	return &q->ticket;
}

void meter_charge(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	struct question *q = question_new(m, moment, f);
	if (q == NULL)
		return;
	q->mode = BUCKET_FORCE;
	start(m, q);
}

/* ---- how many workers share ---- */

static void on_roll_call(void *arg, const struct redis_reply *r)
{
	struct metermaid *m = arg;
	if (r->got == REDIS_NUMBERS && r->n == 1 && r->v[0] > 0)
		OBJ(metermaid, m)->live_workers = (uint64_t)r->v[0];
}

static void call_roll(void *arg)
{
	static const char script[] =
	    "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "
	    "redis.call('ZADD', KEYS[1], now, ARGV[1]) "
	    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2]) "
	    "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return redis.call('ZCARD', KEYS[1])";
	struct metermaid *m = OBJ(metermaid, arg);
	char dead[16];
	snprintf(dead, sizeof dead, "%d", (int)ROLL_CALL_DEAD_MS);
	struct span words[] = { SPAN("EVAL"), span_str(script), SPAN("1"),
		SPAN("{postern}:workers"), span_str(m->name), span_str(dead) };
	redis_link_call(m->redis, words, COUNT_OF(words), on_roll_call, m);
	timer_set(&m->roll_call, redis_link_is_up(m->redis) ? ROLL_CALL_MS : 200);
}

/* ---- construction ---- */

struct metermaid *metermaid_new(struct loop *l, struct dns *dns, const struct conf *conf)
{
	struct metermaid *m = MEM_NEW(struct metermaid);
	const struct metermaid_conf *c = conf_section(conf, &metermaid_block);
	m->magic = metermaid_MAGIC;
	m->loop = l;
	m->dns = dns;
	m->conf = conf_ref(conf);
	m->rules = rules_new(conf);
	m->observed = observed_new();
	m->live_workers = 1;
	list_init(&m->waiting);
	list_init(&m->asked);
	list_init(&m->done);
	soon_init(&m->flush, on_flush, m);
	timer_init(&m->roll_call, l, call_roll, m);
	snprintf(m->name, sizeof m->name, "%d-%016" PRIx64, (int)getpid(), rand_u64());
	if (c->redis.host != NULL) {
		m->share = table_new_private(PRIVATE_KEYS);
		m->redis = redis_link_new(l, dns, c);
		timer_set(&m->roll_call, 100);
	} else {
		metermaid_prepare();
	}
	return m;
}

void metermaid_reload(struct metermaid *m, const struct conf *fresh)
{
	/* the link's own options need a restart, so it keeps the snapshot it began with */
	struct rules *r = rules_new(fresh);
	rules_unref(&m->rules);
	m->rules = r;
}

static void free_list(struct list_node *head)
{
	while (!list_empty(head))
		question_free(LIST_OF(struct question, link, head->next));
}

void metermaid_free(struct metermaid **m)
{
	struct metermaid *gone = *m;
	*m = NULL;
	if (gone == NULL)
		return;
	for (struct list_node *n = gone->asked.next; n != &gone->asked; n = n->next)
		LIST_OF(struct question, link, n)->fn = NULL;
	redis_link_free(&gone->redis); /* ends the batches, and with them the asked questions */
	free_list(&gone->waiting);
	free_list(&gone->asked);
	free_list(&gone->done);
	soon_clear(&gone->flush);
	timer_clear(&gone->roll_call);
	table_free(&gone->share);
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

/* ---- for people ---- */

static void put_rules(const struct metermaid *m, struct buf *out)
{
	static const char *const moments[] = { "connect", "auth", "message" };
	static const char *const actions[] = { "allow", "defer", "refuse", "delay" };
	buf_add_char(out, '[');
	for (size_t i = 0; i < m->rules->n; i++) {
		const struct rule *r = &m->rules->v[i];
		buf_add_str(out, i > 0 ? ",{\"rule\":" : "{\"rule\":");
		fmt_json_string(out, span_str(r->name));
		buf_printf(
		    out, ",\"on\":\"%s\",\"rate\":\"%" PRIu64 "/", moments[r->moment], r->count);
		fmt_duration(out, r->per_ms);
		buf_printf(out,
		    "\",\"action\":\"%s\",\"asked\":%" PRIu64 ",\"refused\":%" PRIu64 "}",
		    actions[r->action], r->asked, r->refused);
	}
	buf_add_char(out, ']');
}

bool metermaid_control(struct metermaid *m, const char *const *words, size_t n, struct buf *out)
{
	if (n < 2 || strcmp(words[0], "meter") != 0)
		return false;
	if (strcmp(words[1], "rules") == 0) {
		put_rules(m, out);
		return true;
	}
	if (strcmp(words[1], "top") != 0)
		return false;
	buf_add_char(out, '[');
	observed_put(m->observed, n > 2 ? words[2] : NULL, out);
	buf_add_char(out, ']');
	return true;
}
