/* commit_store.c - one message to the stores of its local recipients; part of step 5 of 6 (commit.c).
 *
 * A group is what one store gets: it is looked up, then spoken to by LMTP over a pooled connection.
 * However that ends, each of its recipients has an outcome: the store's word, or LATER. */
#include "base/check.h"
#include "base/mem.h"
#include "edge/commit_internal.h"
#include "edge/lmtp_address.h"
#include "edge/out_conf.h"
#include "edge/outcome.h"
#include "edge/queue_tables.h"

/* The fields in front of the body first: a piece of its own. */
static struct span read_body(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct transaction *t = arg;
	struct span prefix = span_str(t->prefix);
	if (at >= prefix.n)
		return body_read(t->body, at - prefix.n, n, err_out);
	*err_out = ERR_OK;
	return span_first(span_from(prefix, (size_t)at), n);
}

struct mail_source commit_body(const struct transaction *t)
{
	return (struct mail_source){ .read = read_body,
		.arg = (void *)(uintptr_t)t,
		.size = span_str(t->prefix).n + body_size(t->body) };
}

/* ---- ends -------------------------------------------------------------------------------------- */

static void set_open_later(struct group *g, const char *enhanced, const char *why)
{
	for (size_t i = 0; i < g->mail.recipient_count; i++)
		if (g->to[i].outcome->fate == FATE_OPEN)
			outcome_set(g->to[i].outcome, FATE_LATER, 451, enhanced, span_str(why));
}

static void log_store(const struct group *g, const char *why)
{
	const struct transaction *t = g->commit->t;
	log_write(&queue_events[QUEUE_EV_COMMIT_STORE], t->id.s,
	    LOG_FIELDS(
		LOG_STR("session", t->session.s), LOG_STR("store", g->store), LOG_STR("why", why)));
}

static void close_group(struct group *g)
{
	ticket_cancel(&g->ask);
	g->state = GR_DONE;
	g->commit->groups_open--;
}

/* Last statement of whoever calls it. */
static void group_done(struct group *g)
{
	struct commit *c = g->commit;
	close_group(g);
	if (c->groups_open == 0)
		commit_stores_done(c);
}

static void group_fail(struct group *g, const char *enhanced, const char *why)
{
	log_store(g, why);
	set_open_later(g, enhanced, why);
	group_done(g);
}

bool group_in_doubt(const struct group *g)
{
	return g->state == GR_SEND && out_pool_in_doubt(g->ask);
}

void group_give_up(struct group *g)
{
	static const char why[] = "the store did not answer in time";
	if (g->state == GR_DONE)
		return;
	log_store(g, why);
	set_open_later(g, "4.4.2", why);
	close_group(g);
}

void group_end(struct group *g)
{
	ticket_cancel(&g->ask);
	for (size_t i = 0; i < g->mail.recipient_count; i++)
		mem_free((char *)(uintptr_t)g->to[i].address);
	mem_free(g->to);
	g->magic = 0;
}

/* ---- the way ----------------------------------------------------------------------------------- */

static void on_sent(void *arg, const struct out_result *r)
{
	struct group *g = OBJ(group, arg);
	g->ask = NULL;
	if (r->end != OUT_ANSWERED && !r->untried)
		log_store(g, r->why);
	group_done(g);
}

static void on_place(void *arg, enum directory_status status, const struct store_place *place)
{
	struct group *g = OBJ(group, arg);
	struct committer *k = g->commit->owner;
	g->ask = NULL;
	if (status != DIRECTORY_FOUND) {
		group_fail(g, "4.3.0", "the directory cannot be asked for the store");
	} else if (place->lmtp == 0) {
		group_fail(g, "4.3.5", "the store does not take mail");
	} else {
		struct out_target to = {
			.kind = OUT_LMTP, .host = place->host, .port = place->lmtp
		};
		to.tls = out_conf_tls(k->edge, &to, g->mail.require_tls);
		g->state = GR_SEND;
		g->ask = out_pool_send(k->pool, &to, &g->mail, on_sent, g);
	}
}

/* ---- groups ------------------------------------------------------------------------------------ */

static bool same_store(const struct recipient *a, const struct recipient *b)
{
	return a->outcome.fate == FATE_OPEN && b->outcome.fate == FATE_OPEN &&
	       span_eq(span_str(a->store), span_str(b->store));
}

/* Is it the first recipient of its store? */
static bool leads(const struct transaction *t, size_t at)
{
	bool first = t->recipients[at].outcome.fate == FATE_OPEN;
	for (size_t i = 0; i < at && first; i++)
		first = !same_store(&t->recipients[i], &t->recipients[at]);
	return first;
}

/* The recipients of the store of t->recipients[lead]; none stands before it. */
static void group_init(struct group *g, struct commit *c, size_t lead)
{
	struct transaction *t = c->t;
	size_t n = 0;
	g->magic = group_MAGIC;
	g->commit = c;
	g->store = t->recipients[lead].store;
	g->to = mem_array(t->recipient_count - lead, sizeof(*g->to));
	for (size_t i = lead; i < t->recipient_count; i++) {
		struct recipient *r = &t->recipients[i];
		if (!same_store(r, &t->recipients[lead]))
			continue;
		g->to[n].address = lmtp_address_new(r->user, r->detail);
		g->to[n].notify = r->notify;
		g->to[n].orcpt = r->orcpt;
		g->to[n++].outcome = &r->outcome;
	}
	g->mail = (struct out_mail){
		.id = t->id,
		.sender = t->sender,
		.body_8bit = t->body_8bit,
		.smtputf8 = t->smtputf8,
		.require_tls = t->require_tls,
		.ret = t->ret,
		.envid = t->envid,
		.body = commit_body(t),
		.recipients = g->to,
		.recipient_count = n,
	};
}

void groups_start(struct commit *c)
{
	struct transaction *t = c->t;
	size_t n = 0;
	for (size_t i = 0; i < t->recipient_count; i++)
		n += leads(t, i);
	c->groups = n > 0 ? mem_array(n, sizeof(*c->groups)) : NULL;
	for (size_t i = 0; i < t->recipient_count; i++)
		if (leads(t, i))
			group_init(&c->groups[c->group_count++], c, i);
	c->groups_open = c->group_count;
	for (size_t i = 0; i < c->group_count; i++) {
		struct group *g = &c->groups[i];
		g->ask = directory_store(c->owner->directory, span_str(g->store), on_place, g);
	}
}
