/* dns_ask.c - the typed questions: addresses, mail exchangers, texts; names confirmed both ways.
 *
 * Above dns.c, which has the raw questions. Owns one request per ticket. */
#include "net/dns.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/dns_internal.h"

#define ask_MAGIC 0xd4500011u
#define reverse_MAGIC 0xd4500012u

enum { REVERSE_NAMES_MAX = 4, V4 = 0, V6 = 1 };

struct ask;
typedef void ask_answer_fn(struct ask *a); /* builds the result, ends the request, calls back */

struct ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct dns *dns;
	struct dns_asker asker;
	ask_answer_fn *answer;
	union {
		void (*addrs)(void *arg, const struct dns_addrs *);
		void (*mx)(void *arg, const struct dns_mx *);
		void (*alias)(void *arg, const struct dns_alias *);
		void (*texts)(void *arg, const struct dns_texts *);
		void (*tlsa)(void *arg, const struct dns_tlsa *);
	} fn;
	void *arg;
	struct timer deadline;
	struct soon known; /* the answer needs no question */
	struct dns_wait wait[2];
	struct dns_msg *msg[2]; /* owned; NULL: not answered (yet) */
	unsigned waiting;
};

/* ---- requests ---- */

static void ask_end(struct ask *a)
{
	dns_asker_remove(&a->asker);
	timer_clear(&a->deadline);
	soon_clear(&a->known);
	for (size_t i = 0; i < COUNT_OF(a->wait); i++) {
		dns_wait_cancel(&a->wait[i]);
		dns_msg_unref(&a->msg[i]);
	}
	a->magic = 0;
	mem_free(a);
}

static void on_ask_cancel(struct ticket *t)
{
	ask_end(OBJ(ask, t));
}

/* At the deadline what has come is the answer. */
static void on_ask_over(void *arg)
{
	struct ask *a = OBJ(ask, arg);
	a->answer(a);
}

static struct ask *ask_new(struct dns *d, ask_answer_fn *answer, void *arg)
{
	struct ask *a = MEM_NEW(struct ask);
	a->ticket.cancel = on_ask_cancel;
	a->magic = ask_MAGIC;
	a->dns = d;
	a->answer = answer;
	a->arg = arg;
	dns_asker_add(d, &a->asker, &a->ticket);
	timer_init(&a->deadline, dns_loop(d), on_ask_over, a);
	soon_init(&a->known, on_ask_over, a);
	return a;
}

static void got(struct ask *a, size_t i, struct dns_msg *m)
{
	a->msg[i] = dns_msg_ref(m);
	if (--a->waiting == 0)
		a->answer(a);
}

static void on_first(void *arg, struct dns_msg *m)
{
	got(OBJ(ask, arg), 0, m);
}

static void on_second(void *arg, struct dns_msg *m)
{
	got(OBJ(ask, arg), 1, m);
}

static void ask_question(struct ask *a, size_t i, const char *name, enum dns_type type)
{
	a->wait[i].fn = i == 0 ? on_first : on_second;
	a->wait[i].arg = a;
	a->waiting++;
	if (!timer_armed(&a->deadline))
		timer_set(&a->deadline, dns_deadline_ms(a->dns));
	dns_question(a->dns, name, type, &a->wait[i]);
}

/* The answer is this, without a question. */
static struct dns_msg *know(struct ask *a, size_t i, enum dns_status status)
{
	a->msg[i] = dns_msg_new(status);
	a->msg[i]->born_ms = loop_now_ms(dns_loop(a->dns));
	soon_set(dns_loop(a->dns), &a->known);
	return a->msg[i];
}

static enum dns_status status_of(const struct dns_msg *m)
{
	return m == NULL ? DNS_FAILED : m->status;
}

static bool is_secure(const struct ask *a, const struct dns_msg *m)
{
	return m != NULL && m->secure && dns_trusts(a->dns);
}

static uint32_t ttl_left(struct dns *d, const struct dns_msg *m)
{
	uint64_t age_s = (loop_now_ms(dns_loop(d)) - m->born_ms) / 1000;
	return age_s < m->ttl_s ? m->ttl_s - (uint32_t)age_s : 0;
}

/* ---- addresses ---- */

static struct ip_addr addr_of(struct span raw)
{
	struct ip_addr a = { { [10] = 0xff, [11] = 0xff } };
	memcpy(a.b + sizeof a.b - raw.n, raw.p, raw.n);
	return a;
}

static void merge_addrs(const struct ask *a, struct dns_addrs *out)
{
	for (size_t i = 0; i < DNS_RECORDS_MAX; i++)
		for (int family = V6; family >= V4; family--) {
			const struct dns_msg *m = a->msg[family];
			if (status_of(m) == DNS_FOUND && i < m->n && out->n < DNS_ADDRS_MAX)
				out->v[out->n++] = addr_of(dns_msg_data(m, i));
		}
}

static void put_alias(const struct ask *a, struct dns_addrs *out)
{
	for (int family = V6; family >= V4; family--) {
		const struct dns_msg *m = a->msg[family];
		if (status_of(m) == DNS_FOUND && dns_msg_alias(m).n > 0)
			snprintf(out->alias, sizeof out->alias, "%.*s", SPAN_ARG(dns_msg_alias(m)));
	}
}

/* The answers that say something of the name: addresses where there are any, else that there are none. Those that failed do
 * not count: who keeps one kind of address from us must not make what is validated of the other unsafe. */
static bool are_secure(const struct ask *a, enum dns_status status)
{
	bool secure = status != DNS_FAILED;
	for (int family = V4; family <= V6; family++) {
		const struct dns_msg *m = a->msg[family];
		if (m != NULL && m->status == status)
			secure = secure && is_secure(a, m);
	}
	return secure;
}

static void answer_addrs(struct ask *a)
{
	struct dns_addrs r = { .status = DNS_ABSENT, .ttl_s = UINT32_MAX };
	bool only_v4 = a->wait[V6].fn == NULL && a->msg[V6] == NULL;
	for (int family = V4; family <= (only_v4 ? V4 : V6); family++) {
		const struct dns_msg *m = a->msg[family];
		if (status_of(m) == DNS_FAILED)
			r.status = DNS_FAILED;
		else if (ttl_left(a->dns, m) < r.ttl_s)
			r.ttl_s = ttl_left(a->dns, m);
	}
	merge_addrs(a, &r);
	put_alias(a, &r);
	if (r.n > 0)
		r.status = DNS_FOUND;
	if (r.status == DNS_FAILED)
		r.ttl_s = 0;
	r.secure = are_secure(a, r.status);
	void (*fn)(void *, const struct dns_addrs *) = a->fn.addrs;
	void *arg = a->arg;
	ask_end(a);
	fn(arg, &r);
}

static void know_addr(struct ask *a, struct ip_addr addr)
{
	bool v4 = ip_is_v4(addr);
	struct dns_msg *m = know(a, v4 ? V4 : V6, DNS_FOUND);
	m->ttl_s = UINT32_MAX;
	m->n = 1;
	m->v[0].len = v4 ? 4 : 16;
	CHECK(buf_add(&m->data, addr.b + (v4 ? 12 : 0), m->v[0].len));
}

static bool is_localhost(const char *name)
{
	return span_eq_str(span_str(name), "localhost") ||
	       span_iends(span_str(name), SPAN(".localhost"));
}

static struct ticket *ask_addrs(struct dns *d, struct span name, bool v6_too,
    void (*fn)(void *arg, const struct dns_addrs *), void *arg)
{
	struct ask *a = ask_new(d, answer_addrs, arg);
	struct ip_addr literal;
	char checked[DNS_NAME_SIZE];
	a->fn.addrs = fn;
	if (ip_parse(name, &literal)) {
		if (v6_too || ip_is_v4(literal))
			know_addr(a, literal);
	} else if (!dns_name_check(name, checked)) {
		know(a, V4, DNS_ABSENT);
	} else if (is_localhost(checked)) {
		ip_parse(SPAN("127.0.0.1"), &literal);
		know_addr(a, literal);
		ip_parse(SPAN("::1"), &literal);
		if (v6_too)
			know_addr(a, literal);
	} else {
		ask_question(a, V4, checked, DNS_TYPE_A);
		if (v6_too)
			ask_question(a, V6, checked, DNS_TYPE_AAAA);
		return &a->ticket;
	}
	for (int family = V4; family <= (v6_too ? V6 : V4); family++)
		if (a->msg[family] == NULL)
			know(a, (size_t)family, DNS_ABSENT)->ttl_s = UINT32_MAX;
	return &a->ticket;
}

struct ticket *dns_addr(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_addrs *), void *arg)
{
	return ask_addrs(d, name, true, fn, arg);
}

struct ticket *dns_a(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_addrs *), void *arg)
{
	return ask_addrs(d, name, false, fn, arg);
}

/* ---- one question, one answer: MX, TXT, PTR ---- */

static struct ticket *ask_one(struct ask *a, struct span name, enum dns_type type)
{
	char checked[DNS_NAME_SIZE];
	if (dns_name_check(name, checked))
		ask_question(a, 0, checked, type);
	else
		know(a, 0, DNS_ABSENT);
	return &a->ticket;
}

/* Insertion by preference; equal ones stay in the order of the reply, which servers rotate. */
static void put_mx(struct dns_mx *r, uint16_t preference, struct span host)
{
	size_t at = r->n;
	if (r->n == DNS_MX_MAX)
		return;
	for (; at > 0 && r->v[at - 1].preference > preference; at--)
		r->v[at] = r->v[at - 1];
	r->v[at].preference = preference;
	snprintf(r->v[at].host, DNS_NAME_SIZE, "%.*s", SPAN_ARG(host));
	r->n++;
}

static void answer_mx(struct ask *a)
{
	const struct dns_msg *m = a->msg[0];
	struct dns_mx r = { .status = status_of(m), .secure = is_secure(a, m) };
	bool null_mx = false;
	for (size_t i = 0; r.status == DNS_FOUND && i < m->n; i++) {
		struct span host = dns_msg_data(m, i);
		null_mx = null_mx || host.n == 0;
		if (host.n > 0)
			put_mx(&r, m->v[i].preference, host);
	}
	if (r.status == DNS_FOUND && r.n == 0 && !null_mx)
		r.status = DNS_ABSENT;
	void (*fn)(void *, const struct dns_mx *) = a->fn.mx;
	void *arg = a->arg;
	ask_end(a);
	fn(arg, &r);
}

struct ticket *dns_mx(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_mx *), void *arg)
{
	struct ask *a = ask_new(d, answer_mx, arg);
	a->fn.mx = fn;
	return ask_one(a, name, DNS_TYPE_MX);
}

static void answer_alias(struct ask *a)
{
	const struct dns_msg *m = a->msg[0];
	struct dns_alias r = { .status = status_of(m), .secure = is_secure(a, m) };
	if (r.status == DNS_FOUND)
		snprintf(r.name, sizeof r.name, "%.*s", SPAN_ARG(dns_msg_data(m, 0)));
	void (*fn)(void *, const struct dns_alias *) = a->fn.alias;
	void *arg = a->arg;
	ask_end(a);
	fn(arg, &r);
}

struct ticket *dns_cname(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_alias *), void *arg)
{
	struct ask *a = ask_new(d, answer_alias, arg);
	a->fn.alias = fn;
	return ask_one(a, name, DNS_TYPE_CNAME);
}

static void answer_texts(struct ask *a)
{
	struct dns_msg *m = a->msg[0] != NULL ? dns_msg_ref(a->msg[0]) : dns_msg_new(DNS_FAILED);
	struct dns_texts r = { .status = m->status };
	for (; r.n < m->n && r.n < DNS_TEXTS_MAX; r.n++)
		r.v[r.n] = dns_msg_data(m, r.n);
	void (*fn)(void *, const struct dns_texts *) = a->fn.texts;
	void *arg = a->arg;
	ask_end(a);
	fn(arg, &r);
	dns_msg_unref(&m);
}

static struct ticket *ask_texts(struct dns *d, struct span name, enum dns_type type,
    void (*fn)(void *arg, const struct dns_texts *), void *arg)
{
	struct ask *a = ask_new(d, answer_texts, arg);
	a->fn.texts = fn;
	return ask_one(a, name, type);
}

struct ticket *dns_txt(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_texts *), void *arg)
{
	return ask_texts(d, name, DNS_TYPE_TXT, fn, arg);
}

static void answer_tlsa(struct ask *a)
{
	struct dns_msg *m = a->msg[0] != NULL ? dns_msg_ref(a->msg[0]) : dns_msg_new(DNS_FAILED);
	struct dns_tlsa r = { .status = m->status, .secure = is_secure(a, m) };
	for (; r.n < m->n && r.n < DNS_TEXTS_MAX; r.n++) {
		struct span raw = dns_msg_data(m, r.n);
		r.v[r.n].usage = (uint8_t)raw.p[0];
		r.v[r.n].selector = (uint8_t)raw.p[1];
		r.v[r.n].matching = (uint8_t)raw.p[2];
		r.v[r.n].data = span_from(raw, 3);
	}
	void (*fn)(void *, const struct dns_tlsa *) = a->fn.tlsa;
	void *arg = a->arg;
	ask_end(a);
	fn(arg, &r);
	dns_msg_unref(&m);
}

struct ticket *dns_tlsa(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_tlsa *), void *arg)
{
	struct ask *a = ask_new(d, answer_tlsa, arg);
	a->fn.tlsa = fn;
	return ask_one(a, name, DNS_TYPE_TLSA);
}

struct ticket *dns_ptr(
    struct dns *d, struct span name, void (*fn)(void *arg, const struct dns_texts *), void *arg)
{
	return ask_texts(d, name, DNS_TYPE_PTR, fn, arg);
}

/* ---- reverse, confirmed by the name's own addresses ---- */

struct reverse {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct dns *dns;
	struct dns_asker asker;
	struct ip_addr addr;
	void (*fn)(void *arg, const struct dns_name *);
	void *arg;
	struct timer deadline;
	struct ticket *ask; /* owned */
	char names[REVERSE_NAMES_MAX][DNS_NAME_SIZE];
	size_t n, at;
	bool failed; /* a look was not possible: then "absent" would be a lie */
};

static void reverse_end(struct reverse *r)
{
	dns_asker_remove(&r->asker);
	timer_clear(&r->deadline);
	ticket_cancel(&r->ask);
	r->magic = 0;
	mem_free(r);
}

static void on_reverse_cancel(struct ticket *t)
{
	reverse_end(OBJ(reverse, t));
}

static void answer_name(struct reverse *r, enum dns_status status, const char *name)
{
	struct dns_name answer = { .status = status };
	void (*fn)(void *, const struct dns_name *) = r->fn;
	void *arg = r->arg;
	snprintf(answer.name, sizeof answer.name, "%s", name);
	reverse_end(r);
	fn(arg, &answer);
}

static void on_reverse_over(void *arg)
{
	answer_name(OBJ(reverse, arg), DNS_FAILED, "");
}

static void confirm_next(struct reverse *r);

static void on_forward(void *arg, const struct dns_addrs *found)
{
	struct reverse *r = OBJ(reverse, arg);
	r->ask = NULL;
	r->failed = r->failed || found->status == DNS_FAILED;
	for (size_t i = 0; i < found->n; i++) {
		if (ip_eq(found->v[i], r->addr)) {
			answer_name(r, DNS_FOUND, r->names[r->at - 1]);
			return;
		}
	}
	confirm_next(r);
}

static void confirm_next(struct reverse *r)
{
	if (r->at == r->n)
		answer_name(r, r->failed ? DNS_FAILED : DNS_ABSENT, "");
	else
		r->ask = dns_addr(r->dns, span_str(r->names[r->at++]), on_forward, r);
}

static void on_names(void *arg, const struct dns_texts *found)
{
	struct reverse *r = OBJ(reverse, arg);
	r->ask = NULL;
	r->failed = found->status == DNS_FAILED;
	for (size_t i = 0; i < found->n && r->n < REVERSE_NAMES_MAX; i++)
		if (found->v[i].n > 0)
			snprintf(r->names[r->n++], DNS_NAME_SIZE, "%.*s", SPAN_ARG(found->v[i]));
	confirm_next(r);
}

struct ticket *dns_reverse(
    struct dns *d, struct ip_addr a, void (*fn)(void *arg, const struct dns_name *), void *arg)
{
	struct reverse *r = MEM_NEW(struct reverse);
	char question[IP_REVERSE_SIZE + 16], text[IP_REVERSE_SIZE];
	r->ticket.cancel = on_reverse_cancel;
	r->magic = reverse_MAGIC;
	r->dns = d;
	r->addr = a;
	r->fn = fn;
	r->arg = arg;
	dns_asker_add(d, &r->asker, &r->ticket); /* before the first ask: cancelled before it */
	timer_init(&r->deadline, dns_loop(d), on_reverse_over, r);
	timer_set(&r->deadline, dns_deadline_ms(d));
	snprintf(question, sizeof question, "%s%s", ip_reverse(a, text),
	    ip_is_v4(a) ? ".in-addr.arpa" : ".ip6.arpa");
	r->ask = dns_ptr(d, span_str(question), on_names, r);
	return &r->ticket;
}
