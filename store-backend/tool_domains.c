/* tool_domains.c - postern-store domains [DOMAIN]: what the users of each domain have in all partitions together and may have, one
 * line for each, beside a committer that works. Owns the open partitions. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "store-backend/quota.h"
#include "store-backend/store.h"
#include "store-backend/tool_internal.h"

struct domains {
	const struct store_conf *s;
	struct tool_partition *p; /* owned, with the views */
	struct index_view **views;
	size_t n, at; /* opened; whose domains are gone over */
};

static bool is_known(const struct index_domain *d)
{
	return d->users > 0 || d->version > 0;
}

static void put_limit(const char *what, uint64_t used, uint64_t limit)
{
	printf(", %" PRIu64 " %s", used, what);
	if (limit > 0)
		printf(" of %" PRIu64 " (%" PRIu64 " %%)", limit,
		    used >= UINT64_MAX / 100 ? used / (limit / 100 + 1) : used * 100 / limit);
}

/* The first partition that knows it tells of it for all. */
static bool on_domain(void *arg, struct span domain)
{
	struct domains *d = arg;
	struct domain_use use = { 0 };
	struct index_domain one;
	for (size_t i = 0; i < d->n; i++) {
		index_domain(d->views[i], domain, &one);
		if (i < d->at && is_known(&one))
			return true;
		quota_domain_add(&use, &one);
	}
	quota_domain_limit(d->s, domain, &use);
	printf("%.*s: %" PRIu64 " users", SPAN_ARG(domain), use.all.users);
	put_limit("bytes", use.all.bytes, use.limit.bytes);
	put_limit("messages", use.all.messages, use.limit.messages);
	printf("\n");
	return true;
}

static void tell(struct domains *d, const char *word)
{
	if (word != NULL) {
		(void)on_domain(d, span_str(word));
		return;
	}
	for (d->at = 0; d->at < d->n; d->at++)
		index_domains(d->views[d->at], on_domain, d);
}

int tool_domains(const struct conf *c, const char *const *words)
{
	struct domains d = { .s = store_options(c) };
	bool ok = true;
	d.p = mem_array(d.s->partition_n, sizeof *d.p);
	d.views = mem_array(d.s->partition_n, sizeof *d.views);
	while (ok && d.n < d.s->partition_n) {
		ok = tool_open(d.s->partition[d.n], &d.p[d.n]);
		if (!ok)
			break;
		d.views[d.n] = index_view_begin(d.p[d.n].index);
		ok = d.views[d.n++] != NULL;
	}
	if (ok)
		tell(&d, words[0]);
	while (d.n-- > 0) {
		index_view_end(&d.views[d.n]);
		tool_close(&d.p[d.n]);
	}
	mem_free(d.p);
	mem_free(d.views);
	return ok ? 0 : TOOL_FAILED;
}
