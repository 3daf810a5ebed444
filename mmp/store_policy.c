/* store_policy.c - `store` blocks and store_* options, resolved (step 4 of 5, beside route.c).
 *
 * Owns: the list of a setup, with the TLS contexts for connections to stores. */
#include "mmp/store_policy.h"

#include "base/mem.h"
#include "base/span.h"
#include "daemon/daemon.h"

/* The words of a block's option are those of the section's behind "inherit". */
static int inherited(int own, int section)
{
	return own > 0 ? own - 1 : section;
}

static bool fits(const char *name, struct span store)
{
	struct span pattern = span_str(name);
	if (!span_starts(pattern, SPAN("*")))
		return span_ieq(pattern, store);
	struct span tail = span_from(pattern, 1);
	return store.n > tail.n && span_ieq(span_from(store, store.n - tail.n), tail);
}

const struct store_policy *store_policy_of(const struct store_policy *list, const char *store)
{
	while (!list->others && !fits(list->name, span_str(store)))
		list++;
	return list;
}

void store_policies_check(const struct mmp_conf *m, struct conf_diag *d)
{
	for (size_t i = 0; i < m->store_n; i++) {
		const struct conf_head *head = &m->store[i]->head;
		if (head->title[0] == '\0' || span_eq_str(span_str(head->title), "*"))
			conf_error(d, head->pos, "a store needs a name: store NAME { ... }");
		for (size_t k = 0; k < i; k++)
			if (span_ieq_str(span_str(head->title), m->store[k]->head.title))
				conf_error(d, head->pos,
				    "store %s: there is a block for it already", head->title);
	}
}

static bool make_ctx(struct store_policy *p, const struct conf *conf, int verify, struct buf *why)
{
	static const enum tls_verify words[] = { TLS_VERIFY_NAME, TLS_VERIFY_CHAIN,
		TLS_VERIFY_NONE };
	if (p->tls == MMP_TLS_NONE)
		return true;
	p->ctx = daemon_tls_client(conf, words[verify], why);
	return p->ctx != NULL;
}

struct store_policy *store_policies_new(
    const struct conf *conf, const struct mmp_conf *m, struct buf *why)
{
	static const struct mmp_store_conf others = { .head = { .title = "" } };
	struct store_policy *list = mem_array(m->store_n + 1, sizeof *list);
	bool good = true;
	for (size_t i = 0; i <= m->store_n; i++) {
		const struct mmp_store_conf *c = i < m->store_n ? m->store[i] : &others;
		struct store_policy *p = &list[i];
		p->name = c->head.title;
		p->others = i == m->store_n;
		p->facts = (enum store_facts)inherited(c->facts, m->store_facts);
		p->tls = (enum mmp_tls)inherited(c->tls, m->store_tls);
		good = good && make_ctx(p, conf, inherited(c->verify, m->store_verify), why);
	}
	if (!good)
		store_policies_free(&list);
	return list;
}

void store_policies_free(struct store_policy **list)
{
	struct store_policy *p = *list;
	if (p == NULL)
		return;
	for (;; p++) {
		tls_ctx_unref(&p->ctx);
		if (p->others)
			break;
	}
	MEM_FREE(list);
}
