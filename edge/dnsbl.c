/* dnsbl.c - DNS block and allow lists (part of step 2; asked by screen.c).
 *
 * Owns: one set of lists per load of the settings, with the tests that run on them, and one struct list_ask per
 * client. An ask keeps the set it began with: a reload makes a new one. */
#include "edge/dnsbl.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include "edge/dnsbl_codes.h"
#include "edge/dnsbl_health.h"
#include "edge/edge_tables.h"

#define list_ask_MAGIC 0xed6e0011u
#define dnsbl_list_MAGIC 0xed6e0012u
#define dnsbl_MAGIC 0xed6e0013u

enum { CODES_MAX = 16, NETWORK_V4 = 24, NETWORK_V6 = 48 };

struct list_test {
	struct ticket *ask; /* owned, or NULL */
	struct dnsbl_list *list;
};

struct dnsbl_list {
	uint32_t magic;
	struct dnsbl *home;
	char zone[DNS_NAME_SIZE];
	int64_t weight;
	bool self_test;
	struct dnsbl_code codes[CODES_MAX];
	size_t code_n;
	struct dnsbl_health health;
	const char *fault;              /* as last logged */
	struct list_test good, bad;     /* 127.0.0.2 must be listed, 127.0.0.1 must not */
	const char *good_why, *bad_why; /* what the answers said; NULL: as it must be */
};

struct list_set {
	unsigned refs;
	size_t n;
	struct dnsbl_list v[];
};

struct dnsbl {
	uint32_t magic;
	struct loop *loop; /* borrowed, as dns */
	struct dns *dns;
	struct list_set *set;  /* the newest */
	struct list_node asks; /* struct list_ask, so that dnsbl_free() can cancel them */
	struct timer tests;
	uint64_t timeout_ms, interval_ms;
	struct ip_prefixes exempt; /* owned */
};

/* One question of an ask. */
struct ask_part {
	struct ticket *ticket; /* owned while it is asked */
	struct list_ask *ask;
	bool hit, answered;
	struct ip_addr code;
};

struct list_ask {
	struct ticket base; /* first */
	uint32_t magic;
	struct list_node link; /* in dnsbl->asks */
	struct list_set *set;  /* referenced */
	struct timer deadline;
	uint32_t network;
	size_t waiting;
	void (*fn)(void *arg, const struct dnsbl_answer *);
	void *arg;
	struct ask_part part[];
};

/* ---- what an answer means --------------------------------------------------------------------- */

/* NULL, or why the list that gave these answers is no list. */
static const char *answer_fault(const struct dns_addrs *r)
{
	for (size_t i = 0; i < r->n; i++) {
		enum dnsbl_kind kind = dnsbl_kind_of(r->v[i]);
		if (kind == DNSBL_ERROR)
			return "answers with an error code, 127.255.255.*";
		if (kind == DNSBL_FOREIGN)
			return "answers with addresses outside 127.0.0.0/8";
	}
	return NULL;
}

static bool find_hit(
    const struct dnsbl_list *l, const struct dns_addrs *r, struct ip_addr *code_out)
{
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < l->code_n; k++)
			if (dnsbl_kind_of(r->v[i]) == DNSBL_CODE &&
			    dnsbl_code_matches(&l->codes[k], r->v[i])) {
				*code_out = r->v[i];
				return true;
			}
	return false;
}

/* ---- health ----------------------------------------------------------------------------------- */

static void show_health(struct dnsbl_list *l)
{
	const char *fault = dnsbl_health_fault(&l->health);
	if (fault == l->fault)
		return;
	if (fault == NULL)
		log_write(
		    &edge_events[EDGE_EV_DNSBL_GOOD], NULL, LOG_FIELDS(LOG_STR("list", l->zone)));
	else
		log_write(&edge_events[EDGE_EV_DNSBL_BROKEN], NULL,
		    LOG_FIELDS(LOG_STR("list", l->zone), LOG_STR("why", fault)));
	l->fault = fault;
	size_t broken = 0;
	const struct list_set *set = l->home->set;
	for (size_t i = 0; i < set->n; i++)
		broken += dnsbl_health_fault(&set->v[i].health) != NULL;
	metric_set(&edge_metrics[EDGE_M_DNSBL_BROKEN], broken);
}

static void tests_done(struct dnsbl_list *l)
{
	if (l->good.ask != NULL || l->bad.ask != NULL)
		return;
	l->health.broken = l->good_why != NULL ? l->good_why : l->bad_why;
	show_health(l);
}

static void on_listed(void *arg, const struct dns_addrs *r)
{
	struct list_test *t = arg;
	struct dnsbl_list *l = OBJ(dnsbl_list, t->list);
	t->ask = NULL;
	l->good_why = answer_fault(r);
	if (r->status == DNS_FAILED)
		l->good_why = "does not answer";
	else if (r->status == DNS_ABSENT)
		l->good_why = "does not list 127.0.0.2";
	tests_done(l);
}

static void on_not_listed(void *arg, const struct dns_addrs *r)
{
	struct list_test *t = arg;
	struct dnsbl_list *l = OBJ(dnsbl_list, t->list);
	t->ask = NULL;
	l->bad_why = NULL;
	if (r->status == DNS_FAILED)
		l->bad_why = "does not answer";
	else if (r->status == DNS_FOUND)
		l->bad_why = "lists 127.0.0.1";
	tests_done(l);
}

static void test_list(struct dnsbl_list *l)
{
	char name[DNS_NAME_SIZE + 16];
	if (!l->self_test) { /* what an answer showed is forgiven after a while */
		l->health.broken = NULL;
		show_health(l);
		return;
	}
	if (l->good.ask != NULL || l->bad.ask != NULL)
		return;
	snprintf(name, sizeof name, "2.0.0.127.%s", l->zone);
	l->good.ask = dns_a(l->home->dns, span_str(name), on_listed, &l->good);
	snprintf(name, sizeof name, "1.0.0.127.%s", l->zone);
	l->bad.ask = dns_a(l->home->dns, span_str(name), on_not_listed, &l->bad);
}

static void on_tests(void *arg)
{
	struct dnsbl *d = OBJ(dnsbl, arg);
	for (size_t i = 0; i < d->set->n; i++)
		test_list(&d->set->v[i]);
	if (d->set->n > 0)
		timer_set(&d->tests, d->interval_ms);
}

/* ---- asking ----------------------------------------------------------------------------------- */

static void set_unref(struct list_set *set)
{
	if (--set->refs == 0)
		mem_free(set);
}

/* No tests any more; what is asked goes on. */
static void set_retire(struct list_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		ticket_cancel(&set->v[i].good.ask);
		ticket_cancel(&set->v[i].bad.ask);
	}
	set_unref(set);
}

static void ask_end(struct list_ask *a)
{
	for (size_t i = 0; i < a->set->n; i++)
		ticket_cancel(&a->part[i].ticket);
	timer_clear(&a->deadline);
	list_remove(&a->link);
	set_unref(a->set);
	a->magic = 0;
	mem_free(a);
}

static void on_cancel(struct ticket *t)
{
	ask_end(OBJ(list_ask, t));
}

static void put_part(const struct list_ask *a, size_t i, struct buf *words)
{
	const struct dnsbl_list *l = &a->set->v[i];
	const char *fault = dnsbl_health_fault(&l->health);
	const struct ask_part *p = &a->part[i];
	char code[IP_TEXT_SIZE];
	if (!p->hit && p->answered && fault == NULL)
		return;
	buf_printf(words, "%s%s", buf_len(words) > 0 ? ", " : "", l->zone);
	if (p->hit) {
		buf_printf(words, " %s %s", ip_text(p->code, code), l->weight < 0 ? "-" : "+");
		buf_add_number(words, (uint64_t)(l->weight < 0 ? -l->weight : l->weight));
	}
	if (fault != NULL)
		buf_printf(words, " (ignored: %s)", fault);
	else if (!p->answered)
		buf_add_str(words, " (no answer)");
}

static void answer(struct list_ask *a)
{
	struct buf words = BUF_INIT(DNSBL_WORDS_MAX);
	struct dnsbl_answer r = { 0 };
	int64_t greatest = 0;
	size_t believed = 0, answered = 0;
	for (size_t i = 0; i < a->set->n; i++) {
		const struct dnsbl_list *l = &a->set->v[i];
		bool is_believed = dnsbl_health_fault(&l->health) == NULL;
		put_part(a, i, &words);
		believed += is_believed;
		answered += is_believed && a->part[i].answered;
		if (!a->part[i].hit || !is_believed)
			continue;
		r.score += l->weight;
		if (l->weight > greatest) {
			greatest = l->weight;
			r.zone = l->zone;
		}
	}
	r.sure = answered > 0 && answered == believed;
	r.words = buf_span(&words);
	void (*fn)(void *, const struct dnsbl_answer *) = a->fn;
	void *arg = a->arg;
	struct list_set *set = a->set;
	set->refs++; /* it may go with the ask, and the answer names one of its zones */
	ask_end(a);
	fn(arg, &r);
	set_unref(set);
	buf_end(&words);
}

static void on_deadline(void *arg)
{
	answer(OBJ(list_ask, arg));
}

static void on_part(void *arg, const struct dns_addrs *r)
{
	struct ask_part *p = arg;
	struct list_ask *a = OBJ(list_ask, p->ask);
	struct dnsbl_list *l = &a->set->v[p - a->part];
	const char *fault = answer_fault(r);
	p->ticket = NULL;
	p->answered = r->status != DNS_FAILED;
	if (fault != NULL)
		l->health.broken = fault;
	else
		p->hit = find_hit(l, r, &p->code);
	if (p->answered)
		dnsbl_health_note(&l->health, a->network, p->hit);
	show_health(l);
	if (--a->waiting == 0)
		answer(a);
}

static uint32_t network_of(struct ip_addr client)
{
	struct ip_prefix net = ip_network(client, ip_is_v4(client) ? NETWORK_V4 : NETWORK_V6);
	return (uint32_t)hash_keyed(span_of(net.addr.b, sizeof net.addr.b));
}

struct ticket *dnsbl_ask(struct dnsbl *d, struct ip_addr client,
    void (*fn)(void *arg, const struct dnsbl_answer *), void *arg)
{
	char reverse[IP_REVERSE_SIZE];
	struct list_set *set = OBJ(dnsbl, d)->set;
	if (set->n == 0 || ip_in_set(client, &d->exempt))
		return NULL;
	struct list_ask *a = mem_alloc(sizeof *a + set->n * sizeof a->part[0]);
	a->base.cancel = on_cancel;
	a->magic = list_ask_MAGIC;
	a->set = set;
	set->refs++;
	a->network = network_of(client);
	a->fn = fn;
	a->arg = arg;
	a->waiting = set->n;
	list_add_tail(&d->asks, &a->link);
	timer_init(&a->deadline, d->loop, on_deadline, a);
	timer_set(&a->deadline, d->timeout_ms);
	struct buf name = BUF_INIT(DNS_NAME_SIZE + IP_REVERSE_SIZE);
	ip_reverse(client, reverse);
	for (size_t i = 0; i < set->n; i++) {
		a->part[i].ask = a;
		buf_clear(&name);
		buf_printf(&name, "%s.%s", reverse, set->v[i].zone);
		a->part[i].ticket = dns_a(d->dns, buf_span(&name), on_part, &a->part[i]);
	}
	buf_end(&name);
	return &a->base;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void keep_health(struct dnsbl_list *l, const struct list_set *old)
{
	for (size_t i = 0; old != NULL && i < old->n; i++) {
		const struct dnsbl_list *known = &old->v[i];
		if (strcmp(known->zone, l->zone) != 0 || known->self_test != l->self_test)
			continue;
		l->health = known->health;
		l->fault = known->fault;
		return;
	}
	dnsbl_health_init(&l->health, !l->self_test);
	l->fault = l->health.broken; /* not worth a line */
}

static void list_begin(struct dnsbl_list *l, struct dnsbl *d, const struct edge_dnsbl_conf *c,
    const struct list_set *old)
{
	l->magic = dnsbl_list_MAGIC;
	l->home = d;
	snprintf(l->zone, sizeof l->zone, "%s", c->head.title);
	l->weight = c->weight;
	l->self_test = c->self_test;
	l->good.list = l->bad.list = l;
	for (size_t i = 0; i < c->codes.n; i++)
		CHECK(dnsbl_code_parse(span_str(c->codes.v[i]), &l->codes[l->code_n++]));
	keep_health(l, old);
}

static void configure(struct dnsbl *d, const struct edge_conf *c)
{
	struct list_set *old = d->set;
	struct list_set *set = mem_alloc(sizeof *set + c->dnsbl_n * sizeof set->v[0]);
	set->refs = 1;
	set->n = c->dnsbl_n;
	for (size_t i = 0; i < set->n; i++)
		list_begin(&set->v[i], d, c->dnsbl[i], old);
	d->set = set;
	d->timeout_ms = c->dnsbl_timeout;
	d->interval_ms = c->dnsbl_check_interval;
	mem_free(d->exempt.v);
	d->exempt = (struct ip_prefixes){
		.v = mem_copy(c->dns_exempt.v, c->dns_exempt.n * sizeof c->dns_exempt.v[0]),
		.n = c->dns_exempt.n,
	};
	if (old != NULL)
		set_retire(old);
	on_tests(d);
}

struct dnsbl *dnsbl_new(struct loop *l, struct dns *dns, const struct edge_conf *c)
{
	struct dnsbl *d = MEM_NEW(struct dnsbl);
	d->magic = dnsbl_MAGIC;
	d->loop = l;
	d->dns = dns;
	list_init(&d->asks);
	timer_init(&d->tests, l, on_tests, d);
	configure(d, c);
	return d;
}

void dnsbl_reload(struct dnsbl *d, const struct edge_conf *c)
{
	configure(OBJ(dnsbl, d), c);
}

void dnsbl_free(struct dnsbl **d)
{
	struct dnsbl *gone = *d;
	*d = NULL;
	if (gone == NULL)
		return;
	while (!list_empty(&gone->asks))
		ask_end(LIST_OF(struct list_ask, link, gone->asks.next));
	timer_clear(&gone->tests);
	set_retire(gone->set);
	mem_free(gone->exempt.v);
	gone->magic = 0;
	mem_free(gone);
}

void dnsbl_check(const struct edge_conf *c, struct conf_diag *d)
{
	struct dnsbl_code code;
	for (size_t i = 0; i < c->dnsbl_n; i++) {
		const struct edge_dnsbl_conf *l = c->dnsbl[i];
		size_t room = DNS_NAME_SIZE - IP_REVERSE_SIZE;
		if (l->head.title[0] == '\0' || strlen(l->head.title) > room)
			conf_error(d, l->head.pos,
			    "a list needs the name of its zone: dnsbl ZONE { ... }");
		if (l->codes.n > CODES_MAX)
			conf_error(d, l->head.pos, "more than %d codes", CODES_MAX);
		for (size_t k = 0; k < l->codes.n; k++)
			if (!dnsbl_code_parse(span_str(l->codes.v[k]), &code))
				conf_error(d, l->head.pos,
				    "\"%s\" is not a pattern such as 127.0.0.2, 127.0.0.4-7 or "
				    "127.0.*.3",
				    l->codes.v[k]);
	}
}
