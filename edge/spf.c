/* spf.c - SPF: records are followed through the DNS (part of step 3; asked by sender.c; grammar:
 * proto/spf.c).
 *
 * Owns: struct spf_run, a stack of records: each include= is a frame above the record that named it, redirect=
 * takes its frame's place. One question is in flight at a time. */
#include "edge/spf.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proto/smtp_path.h"
#include "proto/spf.h"

#define spf_run_MAGIC 0xed6e0015u

enum { LOOKUPS_MAX = 10, VOIDS_MAX = 2, MX_HOSTS_MAX = 10, FRAMES_MAX = LOOKUPS_MAX + 1 };

struct frame {
	char *record; /* owned; NULL: it is being asked for */
	struct spf_walk walk;
	struct span redirect;
	bool named;     /* by an include or a redirect: it must be there */
	char qualifier; /* of the include that named it */
	char domain[SPF_DOMAIN_MAX + 1];
};

struct spf_run {
	struct ticket base; /* first */
	uint32_t magic;
	struct dns *dns;
	struct ticket *ask; /* owned; the question in flight */
	struct timer deadline;
	struct soon begin;
	struct ip_addr client;
	char *local, *domain, *helo, *receiver; /* owned */
	struct frame frames[FRAMES_MAX];
	size_t depth; /* frames in use */
	unsigned lookups, voids;
	struct spf_term term; /* that waits for the DNS: in the top frame's record */
	struct dns_mx mx;     /* of that term */
	size_t mx_at;
	char target[SPF_DOMAIN_MAX + 1]; /* of that term, expanded */
	bool explaining; /* answer is a fail; its domain is asked for an explanation */
	struct spf_answer answer;
	void (*fn)(void *arg, const struct spf_answer *);
	void *arg;
};

const char *spf_result_word(enum spf_result r)
{
	static const char *const words[] = { [SPF_NONE] = "none",
		[SPF_NEUTRAL] = "neutral",
		[SPF_PASS] = "pass",
		[SPF_FAIL] = "fail",
		[SPF_SOFTFAIL] = "softfail",
		[SPF_TEMPERROR] = "temperror",
		[SPF_PERMERROR] = "permerror" };
	return words[r];
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void run_end(struct spf_run *r)
{
	ticket_cancel(&r->ask);
	timer_clear(&r->deadline);
	soon_clear(&r->begin);
	for (size_t i = 0; i < r->depth; i++)
		mem_free(r->frames[i].record);
	mem_free(r->local);
	mem_free(r->domain);
	mem_free(r->helo);
	mem_free(r->receiver);
	r->magic = 0;
	mem_free(r);
}

static void on_cancel(struct ticket *t)
{
	run_end(OBJ(spf_run, t));
}

static void set_answer(struct spf_answer *a, enum spf_result result, struct span why)
{
	a->result = result;
	memset(a->why, 0, sizeof a->why);
	for (size_t i = 0; i < why.n && i < sizeof a->why - 1; i++)
		a->why[i] = why.p[i] > ' ' && why.p[i] < 0x7f ? why.p[i] : ' ';
}

/* why: plain text, or a term as its domain wrote it. */
static void finish(struct spf_run *r, enum spf_result result, struct span why)
{
	struct spf_answer a = r->answer;
	void (*fn)(void *, const struct spf_answer *) = r->fn;
	void *arg = r->arg;
	set_answer(&a, result, why);
	run_end(r);
	fn(arg, &a);
}

/* A fail, with or without its explanation. */
static void answer_fail(struct spf_run *r)
{
	struct spf_answer a = r->answer;
	finish(r, SPF_FAIL, span_str(a.why));
}

static void on_deadline(void *arg)
{
	struct spf_run *r = OBJ(spf_run, arg);
	if (r->explaining)
		answer_fail(r);
	else
		finish(r, SPF_TEMPERROR, SPAN("the DNS is too slow"));
}

/* ---- frames ----------------------------------------------------------------------------------- */

static void go_on(struct spf_run *r);

static struct frame *top(struct spf_run *r)
{
	return &r->frames[r->depth - 1];
}

static enum spf_result result_of(char qualifier)
{
	switch (qualifier) {
	case '-':
		return SPF_FAIL;
	case '~':
		return SPF_SOFTFAIL;
	case '?':
		return SPF_NEUTRAL;
	default:
		return SPF_PASS;
	}
}

static void fill_facts(struct spf_run *r, struct spf_facts *f)
{
	*f = (struct spf_facts){
		.local = span_str(r->local),
		.sender_domain = span_str(r->domain),
		.domain = span_str(top(r)->domain),
		.helo = span_str(r->helo),
		.client = r->client,
		.receiver = span_str(r->receiver),
		.now_s = clock_wall_us() / 1000000,
	};
}

/* Section 6.2: whatever is wrong with an explanation, there is none then, and a fail all the same. */
static void on_explanation(void *arg, const struct dns_texts *t)
{
	struct spf_run *r = OBJ(spf_run, arg);
	struct buf text = BUF_INIT(SPF_EXPLANATION_SIZE - 1);
	struct spf_facts facts;
	r->ask = NULL;
	fill_facts(r, &facts);
	if (t->status == DNS_FOUND && t->n == 1 && spf_explain(t->v[0], &facts, &text))
		memcpy(r->answer.explanation, buf_cstr(&text), buf_len(&text) + 1);
	buf_end(&text);
	answer_fail(r);
}

/* The record that says fail is the asked domain's own, or one it was redirected to: never an include's. */
static void explain(struct spf_run *r, struct span why)
{
	struct span macro = spf_explanation(span_str(top(r)->record));
	struct buf name = BUF_INIT(SPF_DOMAIN_MAX);
	struct spf_facts facts;
	fill_facts(r, &facts);
	bool ok = macro.n > 0 && spf_expand(macro, &facts, &name);
	set_answer(&r->answer, SPF_FAIL, why);
	r->explaining = ok;
	if (ok)
		r->ask = dns_txt(r->dns, buf_span(&name), on_explanation, r);
	buf_end(&name);
	if (!ok)
		answer_fail(r);
}

/* The top frame has its result (section 5.2 for what an include makes of it). */
static void frame_done(struct spf_run *r, enum spf_result result, struct span why)
{
	char qualifier = top(r)->qualifier;
	if (r->depth == 1 && result == SPF_FAIL) {
		explain(r, why);
		return;
	}
	if (r->depth == 1 || result == SPF_TEMPERROR || result == SPF_PERMERROR) {
		finish(r, result, why);
		return;
	}
	char text[sizeof "include:" + SPF_DOMAIN_MAX];
	snprintf(text, sizeof text, "include:%s", top(r)->domain);
	mem_free(top(r)->record);
	r->depth--;
	if (result != SPF_PASS)
		go_on(r);
	else
		frame_done(r, result_of(qualifier), span_str(text));
}

static void no_record(struct spf_run *r)
{
	if (top(r)->named)
		finish(r, SPF_PERMERROR, SPAN("include or redirect to a domain without a record"));
	else
		finish(r, SPF_NONE, SPAN("no record"));
}

static void on_record(void *arg, const struct dns_texts *t)
{
	struct spf_run *r = OBJ(spf_run, arg);
	struct frame *f = top(r);
	size_t found = 0;
	r->ask = NULL;
	if (t->status == DNS_FAILED) {
		finish(r, SPF_TEMPERROR, SPAN("the DNS does not answer"));
		return;
	}
	for (size_t i = 0; i < t->n; i++) {
		if (!spf_is_record(t->v[i]) || found++ > 0)
			continue;
		f->record = mem_span_str(span_first(t->v[i], SPF_RECORD_MAX + 1));
	}
	if (found == 0) {
		no_record(r);
		return;
	}
	struct span record = span_str(f->record);
	if (found > 1 || !spf_record_ok(record, &f->redirect)) {
		finish(r, SPF_PERMERROR, found > 1 ? SPAN("two records") : SPAN("syntax error"));
		return;
	}
	spf_walk_init(&f->walk, record);
	go_on(r);
}

static void ask_record(struct spf_run *r)
{
	r->ask = dns_txt(r->dns, span_str(top(r)->domain), on_record, r);
}

/* ---- terms that ask the DNS ------------------------------------------------------------------- */

static void matched(struct spf_run *r)
{
	frame_done(r, result_of(r->term.qualifier), r->term.text);
}

/* Counts what was answered with nothing; true: it was one too many, and all is over. */
static bool is_void(struct spf_run *r, bool nothing)
{
	if (!nothing || ++r->voids <= VOIDS_MAX)
		return false;
	finish(r, SPF_PERMERROR, SPAN("too many questions without an answer"));
	return true;
}

static bool in_hosts(const struct spf_run *r, const struct dns_addrs *a)
{
	bool v4 = ip_is_v4(r->client);
	unsigned bits = v4 ? r->term.bits_4 : r->term.bits_6;
	for (size_t i = 0; i < a->n; i++)
		if (ip_is_v4(a->v[i]) == v4 && ip_in_prefix(r->client, ip_network(a->v[i], bits)))
			return true;
	return false;
}

static void on_addrs(void *arg, const struct dns_addrs *a);

static void ask_addrs(struct spf_run *r, const char *name)
{
	bool v4_only = ip_is_v4(r->client) || r->term.kind == SPF_EXISTS;
	r->ask = (v4_only ? dns_a : dns_addr)(r->dns, span_str(name), on_addrs, r);
}

static void next_mx(struct spf_run *r)
{
	if (r->mx_at == r->mx.n)
		go_on(r);
	else if (r->mx_at == MX_HOSTS_MAX)
		finish(r, SPF_PERMERROR, SPAN("too many mail exchangers"));
	else
		ask_addrs(r, r->mx.v[r->mx_at++].host);
}

static void on_addrs(void *arg, const struct dns_addrs *a)
{
	struct spf_run *r = OBJ(spf_run, arg);
	r->ask = NULL;
	if (a->status == DNS_FAILED) {
		finish(r, SPF_TEMPERROR, SPAN("the DNS does not answer"));
	} else if (a->n > 0 && (r->term.kind == SPF_EXISTS || in_hosts(r, a))) {
		matched(r);
	} else if (r->term.kind == SPF_MX) {
		next_mx(r);
	} else if (!is_void(r, a->status == DNS_ABSENT)) {
		go_on(r);
	}
}

static void on_mx(void *arg, const struct dns_mx *m)
{
	struct spf_run *r = OBJ(spf_run, arg);
	r->ask = NULL;
	if (m->status == DNS_FAILED) {
		finish(r, SPF_TEMPERROR, SPAN("the DNS does not answer"));
	} else if (!is_void(r, m->status == DNS_ABSENT)) {
		r->mx = *m;
		r->mx_at = 0;
		next_mx(r);
	}
}

/* Is the name the target, or below it? */
static bool is_below(struct span name, struct span target)
{
	size_t dot = name.n > target.n ? name.n - target.n - 1 : 0;
	return span_ieq(name, target) ||
	       (dot > 0 && name.p[dot] == '.' && span_iends(name, target));
}

static void on_name(void *arg, const struct dns_name *n)
{
	struct spf_run *r = OBJ(spf_run, arg);
	r->ask = NULL;
	if (n->status == DNS_FOUND && is_below(span_str(n->name), span_str(r->target)))
		matched(r);
	else if (!is_void(r, n->status == DNS_ABSENT)) /* a failure is no match: section 5.5 */
		go_on(r);
}

/* The domain of a term goes to out; false: permerror was said. */
static bool expand(struct spf_run *r, struct span macro, char out[SPF_DOMAIN_MAX + 1])
{
	struct buf name = BUF_INIT(SPF_DOMAIN_MAX);
	struct spf_facts facts;
	fill_facts(r, &facts);
	bool ok =
	    macro.n == 0 ? buf_add_span(&name, facts.domain) : spf_expand(macro, &facts, &name);
	if (ok)
		snprintf(out, SPF_DOMAIN_MAX + 1, "%s", buf_cstr(&name));
	buf_end(&name);
	if (!ok)
		finish(r, SPF_PERMERROR, SPAN("a macro cannot be expanded"));
	return ok;
}

/* Counts a term that asks the DNS. False: all is over. */
static bool may_ask(struct spf_run *r)
{
	if (++r->lookups <= LOOKUPS_MAX)
		return true;
	finish(r, SPF_PERMERROR, SPAN("too many terms that ask the DNS"));
	return false;
}

static void include(struct spf_run *r)
{
	CHECK(r->depth < FRAMES_MAX); /* each costs a lookup */
	struct frame *f = &r->frames[r->depth++];
	*f = (struct frame){ .named = true, .qualifier = r->term.qualifier };
	snprintf(f->domain, sizeof f->domain, "%s", r->target);
	ask_record(r);
}

static void ask_term(struct spf_run *r)
{
	if (!may_ask(r) || !expand(r, r->term.domain, r->target))
		return;
	switch (r->term.kind) {
	case SPF_INCLUDE:
		include(r);
		break;
	case SPF_MX:
		r->ask = dns_mx(r->dns, span_str(r->target), on_mx, r);
		break;
	case SPF_PTR:
		r->ask = dns_reverse(r->dns, r->client, on_name, r);
		break;
	default:
		ask_addrs(r, r->target);
	}
}

/* ---- the terms of a record -------------------------------------------------------------------- */

static void end_of_record(struct spf_run *r)
{
	struct frame *f = top(r);
	if (f->redirect.n == 0) {
		frame_done(r, SPF_NEUTRAL, SPAN("no term matches"));
		return;
	}
	if (!may_ask(r) || !expand(r, f->redirect, r->target))
		return;
	snprintf(f->domain, sizeof f->domain, "%s", r->target);
	f->named = true;
	f->redirect = SPAN_NONE;
	MEM_FREE(&f->record);
	ask_record(r);
}

static bool in_net(const struct spf_run *r)
{
	return ip_is_v4(r->client) == (r->term.kind == SPF_IP4) &&
	       ip_in_prefix(r->client, r->term.net);
}

/* Goes through the top record up to a match, its end, or a term that must ask. */
static void go_on(struct spf_run *r)
{
	bool bad;
	while (spf_next(&top(r)->walk, &r->term, &bad)) {
		enum spf_kind kind = r->term.kind;
		bool net = kind == SPF_IP4 || kind == SPF_IP6;
		if (kind == SPF_ALL || (net && in_net(r))) {
			matched(r);
			return;
		}
		if (net || kind == SPF_REDIRECT || kind == SPF_EXP || kind == SPF_OTHER)
			continue;
		ask_term(r);
		return;
	}
	end_of_record(r);
}

static void on_begin(void *arg)
{
	struct spf_run *r = OBJ(spf_run, arg);
	struct span domain = span_str(r->domain);
	if (!smtp_domain_ok(domain, false) || span_find(domain, '.') == SIZE_MAX) {
		finish(r, SPF_NONE, SPAN("not a domain"));
		return;
	}
	r->depth = 1;
	snprintf(top(r)->domain, sizeof top(r)->domain, "%s", r->domain);
	ask_record(r);
}

struct ticket *spf_check(struct loop *l, struct dns *dns, const struct spf_ask *ask,
    void (*fn)(void *arg, const struct spf_answer *), void *arg)
{
	struct spf_run *r = MEM_NEW(struct spf_run);
	r->base.cancel = on_cancel;
	r->magic = spf_run_MAGIC;
	r->dns = dns;
	r->client = ask->client;
	r->local = mem_span_str(ask->local);
	r->domain = mem_span_str(ask->domain);
	r->helo = mem_span_str(ask->helo);
	r->receiver = mem_span_str(ask->receiver);
	r->fn = fn;
	r->arg = arg;
	timer_init(&r->deadline, l, on_deadline, r);
	timer_set(&r->deadline, ask->deadline_ms);
	soon_init(&r->begin, on_begin, r);
	soon_set(l, &r->begin);
	return &r->base;
}
