/* tls_policy.c - asks the DNS what certificate a next hop has to show; before: deliver.c, after: smtp_out.c.
 *
 * Owns one request for each question. */
#include "edge/tls_policy.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

#define tls_policy_MAGIC 0x715b0001u

enum { RECORD_HEAD = 3, NAME_SIZE = DNS_NAME_SIZE + 20 };

const struct edge_next_hop_conf *tls_policy_block(const struct edge_conf *c, const char *domain)
{
	struct span name = span_str(domain);
	const struct edge_next_hop_conf *best = NULL;
	size_t length = 0;
	for (size_t i = 0; i < c->next_hop_n; i++) {
		struct span title = span_str(c->next_hop[i]->head.title);
		bool below = title.n > 0 && title.p[0] == '.';
		bool fits =
		    below ? span_iends(name, title) && name.n > title.n : span_ieq(name, title);
		if (fits && title.n >= length) {
			best = c->next_hop[i];
			length = title.n;
		}
	}
	return best;
}

enum out_tls tls_policy_of(const struct edge_conf *c, const char *domain)
{
	const struct edge_next_hop_conf *block = tls_policy_block(c, domain);
	return (enum out_tls)(block != NULL ? block->tls : c->smtp_tls);
}

/* ---- records as bytes --------------------------------------------------------------------------- */

struct out_dane out_dane_copy(const struct out_dane *d)
{
	struct out_dane copy = { .domain = mem_str(d->domain), .base = mem_str(d->base) };
	copy.tlsa = span_of(mem_copy(d->tlsa.p, d->tlsa.n), d->tlsa.n);
	return copy;
}

void out_dane_end(struct out_dane *d)
{
	mem_free((char *)(uintptr_t)d->domain);
	mem_free((char *)(uintptr_t)d->base);
	mem_free((char *)(uintptr_t)d->tlsa.p);
	*d = (struct out_dane){ 0 };
}

static void put_record(struct buf *out, const struct tls_dane_record *r)
{
	size_t n = RECORD_HEAD + r->data.n;
	buf_add_char(out, (char)(n >> 8));
	buf_add_char(out, (char)(n & 0xff));
	buf_add_char(out, (char)r->usage);
	buf_add_char(out, (char)r->selector);
	buf_add_char(out, (char)r->matching);
	buf_add_span(out, r->data);
}

size_t tls_policy_records(struct span tlsa, struct tls_dane_record *out)
{
	size_t n = 0;
	while (tlsa.n >= 2 + RECORD_HEAD && n < TLS_POLICY_RECORDS_MAX) {
		const unsigned char *p = (const unsigned char *)tlsa.p;
		size_t length = (size_t)p[0] << 8 | p[1];
		if (length < RECORD_HEAD || length > tlsa.n - 2)
			break;
		out[n++] = (struct tls_dane_record){ p[2], p[3], p[4],
			span_of(tlsa.p + 5, length - RECORD_HEAD) };
		tlsa = span_from(tlsa, 2 + length);
	}
	return n;
}

bool tls_policy_is_usable(struct span tlsa)
{
	struct tls_dane_record v[TLS_POLICY_RECORDS_MAX];
	return tls_dane_is_usable(v, tls_policy_records(tlsa, v));
}

/* ---- questions ---------------------------------------------------------------------------------- */

struct policy_ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct dns *dns;
	char host[DNS_NAME_SIZE];
	char base[DNS_NAME_SIZE]; /* whose records are asked for */
	uint16_t port;
	struct ticket *ask; /* owned: the address, perhaps the alias alone, then TLSA */
	tls_policy_fn *fn;
	void *arg;
};

static void ask_end(struct policy_ask *a)
{
	ticket_cancel(&a->ask);
	a->magic = 0;
	mem_free(a);
}

static void on_cancel(struct ticket *t)
{
	struct policy_ask *a = (struct policy_ask *)t;
	CHECK(a->magic == tls_policy_MAGIC);
	ask_end(a);
}

/* Last statement of whoever calls it. */
static void answer(struct policy_ask *a, enum tls_policy_answer what, struct span tlsa)
{
	char base[DNS_NAME_SIZE];
	struct out_dane dane = { .base = base, .tlsa = tlsa };
	tls_policy_fn *fn = a->fn;
	void *arg = a->arg;
	memcpy(base, a->base, sizeof base);
	ask_end(a);
	fn(arg, what, &dane);
}

static void ask_tlsa(struct policy_ask *a, const char *base);

static void on_tlsa(void *arg, const struct dns_tlsa *r)
{
	struct policy_ask *a = arg;
	struct buf tlsa = BUF_INIT(TLS_POLICY_BYTES_MAX);
	CHECK(a->magic == tls_policy_MAGIC);
	a->ask = NULL;
	enum tls_policy_answer what = r->status == DNS_FAILED               ? TLS_POLICY_FAILED
				      : r->status == DNS_FOUND && r->secure ? TLS_POLICY_DANE
									    : TLS_POLICY_NONE;
	if (what == TLS_POLICY_NONE && strcmp(a->base, a->host) != 0) {
		ask_tlsa(a, a->host);
		return;
	}
	for (size_t i = 0; what == TLS_POLICY_DANE && i < r->n; i++)
		put_record(&tlsa, &(struct tls_dane_record){ r->v[i].usage, r->v[i].selector,
				      r->v[i].matching, r->v[i].data });
	if (!buf_ok(&tlsa))
		what = TLS_POLICY_FAILED;
	answer(a, what, buf_span(&tlsa));
	buf_end(&tlsa);
}

static void ask_tlsa(struct policy_ask *a, const char *base)
{
	char name[NAME_SIZE];
	memmove(a->base, base, strlen(base) + 1);
	snprintf(name, sizeof name, "_%u._tcp.%s", a->port, a->base);
	a->ask = dns_tlsa(a->dns, span_str(name), on_tlsa, a);
}

static void on_alias(void *arg, const struct dns_alias *r)
{
	struct policy_ask *a = arg;
	CHECK(a->magic == tls_policy_MAGIC);
	a->ask = NULL;
	if (r->status == DNS_FOUND && r->secure)
		ask_tlsa(a, a->host);
	else
		answer(a, r->status == DNS_FAILED ? TLS_POLICY_FAILED : TLS_POLICY_NONE, SPAN_NONE);
}

static void on_address(void *arg, const struct dns_addrs *r)
{
	struct policy_ask *a = arg;
	CHECK(a->magic == tls_policy_MAGIC);
	a->ask = NULL;
	if (r->status == DNS_FOUND && r->secure)
		ask_tlsa(a, r->alias[0] != '\0' ? r->alias : a->host);
	else if (r->status == DNS_FOUND && r->alias[0] != '\0')
		a->ask = dns_cname(a->dns, span_str(a->host), on_alias, a);
	else
		answer(a, r->status == DNS_FAILED ? TLS_POLICY_FAILED : TLS_POLICY_NONE, SPAN_NONE);
}

struct ticket *tls_policy_ask(
    struct dns *d, const char *host, uint16_t port, tls_policy_fn *fn, void *arg)
{
	struct policy_ask *a = MEM_NEW(struct policy_ask);
	a->ticket.cancel = on_cancel;
	a->magic = tls_policy_MAGIC;
	a->dns = d;
	a->fn = fn;
	a->arg = arg;
	a->port = port;
	snprintf(a->host, sizeof a->host, "%s", host);
	a->ask = dns_addr(d, span_str(host), on_address, a);
	return &a->ticket;
}
