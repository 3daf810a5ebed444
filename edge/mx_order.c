/* mx_order.c - see mx_order.h (part of step 6; before and after: deliver.c). Owns nothing. */
#include "edge/mx_order.h"

#include <string.h>

#include "base/rand.h"
#include "base/span.h"

static bool is_no_host(const char *name)
{
	struct ip_addr literal;
	struct span s = span_str(name);
	return ip_parse(s, &literal) || span_ieq_str(s, "localhost") ||
	       span_iends(s, SPAN(".localhost"));
}

static void drop_bad(struct dns_mx *mx)
{
	size_t n = 0;
	for (size_t i = 0; i < mx->n; i++) {
		if (is_no_host(mx->v[i].host))
			continue;
		if (n != i)
			mx->v[n] = mx->v[i];
		n++;
	}
	mx->n = n;
}

static size_t first_not_before(const struct dns_mx *mx, uint16_t preference)
{
	size_t i = 0;
	while (i < mx->n && mx->v[i].preference < preference)
		i++;
	return i;
}

static void cut_at_ours(struct dns_mx *mx, const char *self)
{
	for (size_t i = 0; i < mx->n; i++) {
		if (span_ieq_str(span_str(mx->v[i].host), self)) {
			mx->n = first_not_before(mx, mx->v[i].preference);
			return;
		}
	}
}

static void swap(struct dns_mx *mx, size_t a, size_t b)
{
	char host[DNS_NAME_SIZE];
	memcpy(host, mx->v[a].host, sizeof host);
	memcpy(mx->v[a].host, mx->v[b].host, sizeof host);
	memcpy(mx->v[b].host, host, sizeof host);
}

/* Each changes places with one from where its preference begins up to itself. */
static void shuffle(struct dns_mx *mx)
{
	size_t begin = 0;
	for (size_t i = 0; i < mx->n; i++) {
		if (mx->v[i].preference != mx->v[begin].preference)
			begin = i;
		size_t with = begin + (size_t)rand_below(i - begin + 1);
		if (with != i)
			swap(mx, with, i);
	}
}

enum mx_use mx_arrange(struct dns_mx *mx, const char *self)
{
	drop_bad(mx);
	bool any = mx->n > 0;
	cut_at_ours(mx, self);
	shuffle(mx);
	return mx->n > 0 ? MX_USE : any ? MX_OURS : MX_BAD;
}
