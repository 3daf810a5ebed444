/* sts.c - policies of MTA-STS: asked for, remembered, fetched again; before: deliver.c, after: lib/net/https.
 *
 * Owns the policies, what is being fetched, and whoever waits for it. An entry lives as long as it has a policy, a fetch
 * or a memory of one that failed. */
#include "edge/sts.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "edge/keep_file.h"
#include "edge/queue_tables.h"
#include "net/https.h"

#define sts_MAGIC 0x5757a001u
#define sts_entry_MAGIC 0x5757a002u
#define sts_question_MAGIC 0x5757a003u

enum {
	FETCHES_MAX = 200,  /* at the same time */
	REFRESHES_MAX = 4,  /* of those, begun by the clock alone */
	FAILED_MS = 300000, /* section 3.3 */
	FETCHED_MS = 60000, /* the same one is not fetched more often, whatever its max_age */
	SAVE_MS = 5000,     /* from the first change on */
	SWEEP_MS = 60000,
	FRESH_S = 24 * 3600, /* older ones are fetched again, section 10.2 */
	WHY_SIZE = 160,
	HOST_SIZE = DNS_NAME_SIZE + 16,
};

struct sts {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	char *kept;          /* owned; NULL: no file */
	struct tls_ctx *tls; /* owned reference; NULL: nothing can be fetched */
	uint16_t port;
	uint64_t fetch_ms;
	struct map *entries;
	struct list_node used; /* the same, the one used last at the end */
	struct list_node questions;
	size_t bytes, fetches;
	struct timer save, sweep;
};

struct sts_entry {
	uint32_t magic;
	struct sts *sts;
	struct list_node link;       /* in sts.used */
	char *domain;                /* owned */
	struct sts_rules *rules;     /* owned reference; NULL: none */
	uint64_t fetched_us;         /* wall clock */
	bool used;                   /* since then */
	char wanted[STS_ID_MAX + 1]; /* id of what is or was fetched last */
	struct ticket *fetch;        /* owned */
	uint64_t again_ms; /* loop's time; before it nothing is fetched with the same id */
	enum sts_fault fault;
	char why[WHY_SIZE];
	struct list_node waiting; /* questions */
};

struct sts_question {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct sts *sts;
	struct list_node link; /* in sts.questions, or sts_entry.waiting */
	struct ticket *ask;    /* owned: the record */
	char domain[DNS_NAME_SIZE];
	sts_fn *fn;
	void *arg;
};

/* ---- policies ----------------------------------------------------------------------------------- */

struct sts_rules *sts_rules_ref(struct sts_rules *r)
{
	r->refs++;
	return r;
}

void sts_rules_unref(struct sts_rules **r)
{
	struct sts_rules *dying = *r;
	*r = NULL;
	if (dying == NULL || --dying->refs > 0)
		return;
	mem_free(dying->text);
	mem_free(dying);
}

bool sts_allows(const struct sts_rules *r, const char *host)
{
	for (size_t i = 0; i < r->policy.mx_n; i++)
		if (sts_mx_matches(r->policy.mx[i], span_str(host)))
			return true;
	return false;
}

/* The patterns move into bytes of our own. */
static struct sts_rules *rules_new(struct span id, const struct sts_policy *p)
{
	struct sts_rules *r = MEM_NEW(struct sts_rules);
	struct buf text = BUF_INIT(STS_POLICY_MAX);
	r->refs = 1;
	snprintf(r->id, sizeof r->id, "%.*s", SPAN_ARG(id));
	r->policy = *p;
	for (size_t i = 0; i < p->mx_n; i++)
		buf_add_span(&text, p->mx[i]);
	r->text = mem_span_str(buf_span(&text));
	size_t at = 0;
	for (size_t i = 0; i < p->mx_n; i++) {
		r->policy.mx[i] = span_of(r->text + at, p->mx[i].n);
		at += p->mx[i].n;
	}
	r->bytes = sizeof *r + at;
	buf_end(&text);
	return r;
}

/* ---- entries ------------------------------------------------------------------------------------ */

static void changed(struct sts *s)
{
	if (s->kept != NULL && !timer_armed(&s->save))
		timer_set(&s->save, SAVE_MS);
}

static void entry_set_rules(struct sts_entry *e, struct sts_rules *take)
{
	struct sts *s = e->sts;
	s->bytes -= e->rules != NULL ? e->rules->bytes : 0;
	s->bytes += take != NULL ? take->bytes : 0;
	sts_rules_unref(&e->rules);
	e->rules = take;
}

static void entry_free(struct sts_entry *e)
{
	CHECK(list_empty(&e->waiting));
	e->sts->fetches -= e->fetch != NULL;
	ticket_cancel(&e->fetch);
	entry_set_rules(e, NULL);
	map_remove(e->sts->entries, span_str(e->domain));
	list_remove(&e->link);
	mem_free(e->domain);
	e->magic = 0;
	mem_free(e);
}

/* Those that were not used for longest go, but none that is being fetched. */
static void make_room(struct sts *s)
{
	for (struct list_node *n = s->used.next, *next; n != &s->used; n = next) {
		struct sts_entry *e = LIST_OF(struct sts_entry, link, n);
		next = n->next;
		if (map_count(s->entries) < STS_POLICIES_MAX && s->bytes < STS_BYTES_MAX)
			return;
		if (e->fetch == NULL)
			entry_free(e);
	}
}

static struct sts_entry *entry_get(struct sts *s, const char *domain)
{
	struct sts_entry *e = map_get(s->entries, span_str(domain));
	if (e != NULL)
		return OBJ(sts_entry, e);
	make_room(s);
	e = MEM_NEW(struct sts_entry);
	e->magic = sts_entry_MAGIC;
	e->sts = s;
	e->domain = mem_str(domain);
	list_init(&e->waiting);
	list_add_tail(&s->used, &e->link);
	CHECK(map_set(s->entries, span_str(domain), e, NULL));
	return e;
}

static uint64_t age_s(const struct sts_entry *e)
{
	uint64_t now = clock_wall_us();
	return now > e->fetched_us ? (now - e->fetched_us) / 1000000 : 0;
}

static bool is_valid(const struct sts_entry *e)
{
	return e->rules != NULL && age_s(e) < e->rules->policy.max_age_s;
}

/* Half of its time is over, or a day. */
static bool is_old(const struct sts_entry *e)
{
	uint64_t half = e->rules->policy.max_age_s / 2;
	return age_s(e) >= (half < FRESH_S ? half : FRESH_S);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static void question_end(struct sts_question *q)
{
	ticket_cancel(&q->ask);
	list_remove(&q->link);
	q->magic = 0;
	mem_free(q);
}

static void on_cancel(struct ticket *t)
{
	question_end(OBJ(sts_question, t));
}

/* e: NULL: nothing is known of the domain. Last statement of whoever calls it. */
static void answer(struct sts_question *q, struct sts_entry *e, bool later)
{
	struct sts_answer a = { .later = later, .why = "" };
	struct sts_rules *held = NULL;
	sts_fn *fn = q->fn;
	void *arg = q->arg;
	char why[WHY_SIZE] = "";
	if (e != NULL) {
		a.fault = e->fault;
		snprintf(why, sizeof why, "%s", e->why);
		list_remove(&e->link);
		list_add_tail(&e->sts->used, &e->link);
		e->used = true;
	}
	if (e != NULL && is_valid(e) && e->rules->policy.mode != STS_NONE)
		a.rules = held = sts_rules_ref(e->rules);
	a.why = why;
	question_end(q);
	fn(arg, &a);
	sts_rules_unref(&held);
}

static void answer_waiting(struct sts_entry *e)
{
	struct list_node these;
	list_init(&these);
	while (!list_empty(&e->waiting)) {
		struct list_node *n = list_pop(&e->waiting);
		list_add_tail(&these, n);
	}
	struct sts *s = e->sts;
	char *domain =
	    mem_str(e->domain); /* an answer may bring other questions, and those make room */
	while (!list_empty(&these)) {
		struct sts_question *q = LIST_OF(struct sts_question, link, these.next);
		answer(q, map_get(s->entries, span_str(domain)), false);
	}
	mem_free(domain);
}

/* ---- fetching ----------------------------------------------------------------------------------- */

static void fetch_failed(struct sts_entry *e, enum sts_fault fault, const char *why)
{
	e->fault = fault;
	snprintf(e->why, sizeof e->why, "%s", why);
	e->again_ms = loop_now_ms(e->sts->loop) + FAILED_MS;
	metric_add(&queue_metrics[QUEUE_M_STS_FAILED], 1);
	log_write(&queue_events[QUEUE_EV_STS_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("domain", e->domain), LOG_STR("id", e->wanted),
		LOG_STR("known", is_valid(e) ? e->rules->id : ""), LOG_STR("why", why)));
}

static void fetched(struct sts_entry *e, const struct sts_policy *p)
{
	e->fault = STS_FINE;
	e->why[0] = '\0';
	e->again_ms = loop_now_ms(e->sts->loop) + FETCHED_MS;
	entry_set_rules(e, rules_new(span_str(e->wanted), p));
	e->fetched_us = clock_wall_us();
	e->used = false;
	changed(e->sts);
	log_write(&queue_events[QUEUE_EV_STS_FETCHED], NULL,
	    LOG_FIELDS(LOG_STR("domain", e->domain), LOG_STR("id", e->wanted),
		LOG_STR("mode", sts_mode_word(p->mode)), LOG_U64("max_age_s", p->max_age_s),
		LOG_U64("mx", p->mx_n)));
}

static void on_fetched(void *arg, const struct https_answer *a)
{
	struct sts_entry *e = OBJ(sts_entry, arg);
	struct sts_policy p;
	char why[WHY_SIZE];
	e->fetch = NULL;
	e->sts->fetches--;
	if (a->err == ERR_TLS_UNVERIFIED) {
		fetch_failed(e, STS_CERTIFICATE_BAD, a->text);
	} else if (a->err) {
		fetch_failed(e, STS_FETCH_FAILED, a->text);
	} else if (a->status != 200) {
		snprintf(why, sizeof why, "the policy host answered %u", a->status);
		fetch_failed(e, STS_FETCH_FAILED, why);
	} else if (!span_eq_str(a->type, "text/plain")) {
		fetch_failed(e, STS_FETCH_FAILED, "what the policy host sent is not text/plain");
	} else if (!sts_policy_parse(a->body, &p)) {
		fetch_failed(e, STS_POLICY_BAD, "what the policy host sent is no policy");
	} else {
		fetched(e, &p);
	}
	answer_waiting(e);
}

static void fetch(struct sts_entry *e, struct span id)
{
	struct sts *s = e->sts;
	char host[HOST_SIZE];
	snprintf(host, sizeof host, "mta-sts.%s", e->domain);
	snprintf(e->wanted, sizeof e->wanted, "%.*s", SPAN_ARG(id));
	metric_add(&queue_metrics[QUEUE_M_STS_FETCHES], 1);
	struct https_ask ask = { .host = span_str(host),
		.port = s->port,
		.path = SPAN("/.well-known/mta-sts.txt"),
		.tls = s->tls,
		.answer_max = STS_POLICY_MAX,
		.deadline_ms = s->fetch_ms };
	s->fetches++;
	e->fetch = https_start(s->loop, s->dns, &ask, on_fetched, e);
}

/* ---- the record --------------------------------------------------------------------------------- */

/* The one record of this kind (section 3.1); empty: none that counts. */
static struct span record_id(const struct dns_texts *t)
{
	struct span id = SPAN_NONE, found = SPAN_NONE;
	size_t n = 0;
	for (size_t i = 0; t->status == DNS_FOUND && i < t->n; i++) {
		if (!sts_is_record(t->v[i]))
			continue;
		found = t->v[i];
		n++;
	}
	return n == 1 && sts_record_parse(found, &id) ? id : SPAN_NONE;
}

/* Nothing is asked for again before its time, unless the record names another policy. */
static bool may_fetch(const struct sts_entry *e, struct span id)
{
	return e->sts->tls != NULL && e->fetch == NULL &&
	       (loop_now_ms(e->sts->loop) >= e->again_ms || !span_eq_str(id, e->wanted));
}

/* The record names a policy: the one we have, or one to fetch. */
static void on_id(struct sts_question *q, struct span id)
{
	struct sts *s = q->sts;
	struct sts_entry *e = entry_get(s, q->domain);
	bool have = is_valid(e) && span_eq_str(id, e->rules->id);
	bool full = s->fetches >= FETCHES_MAX;
	if (have) {
		if (is_old(e) && may_fetch(e, id) && !full)
			fetch(e, id);
		answer(q, e, false);
		return;
	}
	if (may_fetch(e, id) && full) {
		answer(q, e, true);
		return;
	}
	if (may_fetch(e, id))
		fetch(e, id);
	if (e->fetch == NULL) {
		answer(q, e, false); /* it has failed a moment ago */
		return;
	}
	list_remove(&q->link);
	list_add_tail(&e->waiting, &q->link);
}

static void on_record(void *arg, const struct dns_texts *t)
{
	struct sts_question *q = OBJ(sts_question, arg);
	struct span id = record_id(t);
	q->ask = NULL;
	if (id.n > 0)
		on_id(q, id);
	else
		answer(q, map_get(q->sts->entries, span_str(q->domain)), false);
}

struct ticket *sts_ask(struct sts *s, const char *domain, sts_fn *fn, void *arg)
{
	struct sts_question *q = MEM_NEW(struct sts_question);
	char name[HOST_SIZE];
	q->ticket.cancel = on_cancel;
	q->magic = sts_question_MAGIC;
	q->sts = s;
	q->fn = fn;
	q->arg = arg;
	struct span d = span_first(span_str(domain), sizeof q->domain - 1);
	span_lower_to(q->domain, d);
	if (d.n > 0 && q->domain[d.n - 1] == '.')
		q->domain[d.n - 1] = '\0';
	list_add_tail(&s->questions, &q->link);
	snprintf(name, sizeof name, "_mta-sts.%s", q->domain);
	q->ask = dns_txt(s->dns, span_str(name), on_record, q);
	return &q->ticket;
}

/* ---- over time ---------------------------------------------------------------------------------- */

static void load(struct sts *s)
{
	struct buf text = BUF_INIT(STS_KEPT_MAX);
	struct sts_kept k;
	err_t err = keep_file_read(s->kept, &text);
	struct span rest = buf_span(&text);
	while (!err && sts_kept_take(&rest, &k)) {
		char domain[DNS_NAME_SIZE];
		snprintf(domain, sizeof domain, "%.*s", SPAN_ARG(k.domain));
		struct sts_entry *e = entry_get(s, domain);
		entry_set_rules(e, rules_new(k.id, &k.policy));
		e->fetched_us = k.fetched_us;
		if (!is_valid(e))
			entry_free(e);
	}
	if (err && err != ERR_NOT_FOUND)
		log_write(&queue_events[QUEUE_EV_KEPT_FILE], NULL,
		    LOG_FIELDS(LOG_STR("file", s->kept), LOG_ERR("why", err)));
	buf_end(&text);
}

static void save(struct sts *s)
{
	struct buf text = BUF_INIT(STS_KEPT_MAX);
	for (struct list_node *n = s->used.next; n != &s->used; n = n->next) {
		const struct sts_entry *e = LIST_OF(struct sts_entry, link, n);
		if (is_valid(e))
			sts_kept_put(&text, e->domain, e->fetched_us, e->rules);
	}
	err_t err = buf_ok(&text) ? keep_file_write(s->kept, buf_span(&text)) : ERR_TOO_LONG;
	if (err)
		log_write(&queue_events[QUEUE_EV_KEPT_FILE], NULL,
		    LOG_FIELDS(LOG_STR("file", s->kept), LOG_ERR("why", err)));
	buf_end(&text);
}

static void on_save(void *arg)
{
	save(OBJ(sts, arg));
}

/* Nothing is known of it that could be of use. */
static bool is_empty(const struct sts_entry *e)
{
	return e->fetch == NULL && !is_valid(e) && loop_now_ms(e->sts->loop) >= e->again_ms;
}

/* What has been used is fetched again before it ends, whether there is mail or not: else somebody who keeps us from
 * fetching it for an hour has removed it. */
static void on_sweep(void *arg)
{
	struct sts *s = OBJ(sts, arg);
	size_t begun = 0;
	for (struct list_node *n = s->used.next, *next; n != &s->used; n = next) {
		struct sts_entry *e = LIST_OF(struct sts_entry, link, n);
		next = n->next;
		if (is_empty(e)) {
			entry_free(e);
			continue;
		}
		if (begun < REFRESHES_MAX && s->fetches < FETCHES_MAX && e->used && is_valid(e) &&
		    is_old(e) && may_fetch(e, span_str(e->rules->id)) &&
		    loop_now_ms(s->loop) >= e->again_ms) {
			char id[STS_ID_MAX + 1];
			memcpy(id, e->rules->id, sizeof id);
			fetch(e, span_str(id));
			begun++;
		}
	}
	timer_set(&s->sweep, SWEEP_MS);
}

void sts_set(struct sts *s, const struct edge_conf *c)
{
	struct tls_client_opts o = { .ca_pem = c->mta_sts_ca.bytes, .verify = TLS_VERIFY_NAME };
	tls_ctx_unref(&s->tls);
	s->tls = tls_client_new(&o, NULL); /* out_conf_tls_ok() has said why not */
	s->port = (uint16_t)c->mta_sts_port;
	s->fetch_ms = c->mta_sts_timeout;
}

struct sts *sts_new(struct loop *l, struct dns *dns, const struct edge_conf *c, const char *kept)
{
	struct sts *s = MEM_NEW(struct sts);
	s->magic = sts_MAGIC;
	s->loop = l;
	s->dns = dns;
	s->kept = mem_str(kept);
	s->entries = map_new(2 * STS_POLICIES_MAX);
	list_init(&s->used);
	list_init(&s->questions);
	timer_init(&s->save, l, on_save, s);
	timer_init(&s->sweep, l, on_sweep, s);
	timer_set(&s->sweep, SWEEP_MS);
	sts_set(s, c);
	if (s->kept != NULL)
		load(s);
	return s;
}

static void questions_end(struct list_node *list)
{
	while (!list_empty(list))
		question_end(LIST_OF(struct sts_question, link, list->next));
}

void sts_free(struct sts **ps)
{
	struct sts *s = *ps;
	if (s == NULL)
		return;
	if (timer_armed(&s->save))
		save(s);
	questions_end(&s->questions);
	while (!list_empty(&s->used)) {
		struct sts_entry *e = LIST_OF(struct sts_entry, link, s->used.next);
		questions_end(&e->waiting);
		entry_free(e);
	}
	map_free(&s->entries);
	tls_ctx_unref(&s->tls);
	timer_clear(&s->save);
	timer_clear(&s->sweep);
	mem_free(s->kept);
	s->magic = 0;
	MEM_FREE(ps);
}
