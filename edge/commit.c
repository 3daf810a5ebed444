/* commit.c - who owns the message now, durably? (step 5 of 6; before: content.c; after: queue.c)
 *
 * Owns one struct commit for each message that waits for its answer, with one group for each store
 * (commit_store.c). First the stores, all at once; then, if one is needed, the question whether the
 * sender may be told of a refusal; then one question to the spool for everything that is left.
 *
 * Cancelled in the middle (the client is gone, the worker stops): everything under way is dropped, and withdrawn where the
 * spool has been asked. The client has no answer, so it still owns the message and will come again. What a store has
 * already is delivered once more then: that is the price of an answer that did not arrive, whoever lost
 * it. Nothing is finished behind the client's back, as that would make the second copy certain. */
#include "edge/commit_internal.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/channel.h"
#include "edge/commit_unit.h"
#include "edge/out_conf.h"
#include "edge/outcome.h"
#include "edge/queue_tables.h"
#include "edge/spool_wire.h"
#include "edge/store_memory.h"

enum {
	KICK_MS = 10000,    /* ETRN: longer than the queue goes over its messages */
	MEMORY_MAX = 10000, /* answers of stores: about 300 bytes each */
};

/* ---- the end ---------------------------------------------------------------------------------- */

static void commit_free(struct commit *c)
{
	ticket_cancel(&c->ask);
	timer_clear(&c->deadline);
	for (size_t i = 0; i < c->group_count; i++)
		group_end(&c->groups[i]);
	mem_free(c->groups);
	list_remove(&c->link);
	c->magic = 0;
	mem_free(c);
}

static void cancel(struct ticket *t)
{
	commit_free(OBJ(commit, t));
}

static void account_for(const struct transaction *t, const struct recipient *r)
{
	static const struct {
		const char *word;
		int metric; /* -1: the session counts it */
	} fates[] = {
		[FATE_DELIVERED] = { "delivered", QUEUE_M_DIRECT },
		[FATE_REFUSED] = { "refused", -1 },
		[FATE_LATER] = { "later", QUEUE_M_LATER },
		[FATE_SPOOLED] = { "spooled", QUEUE_M_SPOOLED },
	};
	const struct outcome *o = &r->outcome;
	CHECK(o->fate != FATE_OPEN);
	if (fates[o->fate].metric >= 0)
		metric_add(&queue_metrics[fates[o->fate].metric], 1);
	log_write(&queue_events[QUEUE_EV_COMMIT_RECIPIENT], t->id.s,
	    LOG_FIELDS(LOG_STR("session", t->session.s), LOG_STR("recipient", r->address),
		LOG_STR("store", r->store), LOG_STR("fate", fates[o->fate].word),
		LOG_U64("code", o->code), LOG_STR("enhanced", o->enhanced),
		LOG_STR("text", o->text)));
}

/* Every outcome is final. Last statement of whoever calls it. */
static void finish(struct commit *c)
{
	void (*fn)(void *arg) = c->fn;
	void *arg = c->arg;
	for (size_t i = 0; i < c->t->recipient_count; i++)
		account_for(c->t, &c->t->recipients[i]);
	commit_free(c);
	fn(arg);
}

static size_t count(const struct commit *c, enum fate fate)
{
	size_t n = 0;
	for (size_t i = 0; i < c->t->recipient_count; i++)
		n += c->t->recipients[i].outcome.fate == fate;
	return n;
}

/* ---- the spool -------------------------------------------------------------------------------- */

static void set_fates(struct commit *c, enum fate from, enum fate to, const char *why)
{
	for (size_t i = 0; i < c->t->recipient_count; i++) {
		struct outcome *o = &c->t->recipients[i].outcome;
		if (o->fate != from)
			continue;
		if (why != NULL)
			outcome_set(o, to, 451, "4.3.0", span_str(why));
		o->fate = to;
	}
}

/* A refusal of which the sender was to be told and cannot be is no answer either: it would be lost. */
static void on_spooled(void *arg, err_t err)
{
	struct commit *c = OBJ(commit, arg);
	struct buf why = BUF_INIT(REPLY_TEXT_SIZE);
	c->ask = NULL;
	if (err == ERR_OK) {
		set_fates(c, FATE_LATER, FATE_SPOOLED, NULL);
	} else {
		buf_printf(&why, "the spool did not take it: %s", err_text(err));
		set_fates(c, FATE_LATER, FATE_LATER, buf_cstr(&why));
		if (c->tell)
			set_fates(c, FATE_REFUSED, FATE_LATER, buf_cstr(&why));
	}
	buf_end(&why);
	finish(c);
}

/* Those who wait for delivery, and those of whom the sender is to be told. */
static size_t pick(const struct commit *c, struct spool_recipient *out)
{
	size_t n = 0;
	for (size_t i = 0; i < c->t->recipient_count; i++) {
		const struct recipient *r = &c->t->recipients[i];
		const struct outcome *o = &r->outcome;
		if (o->fate != FATE_LATER && !(o->fate == FATE_REFUSED && c->tell))
			continue;
		out[n++] = (struct spool_recipient){
			.address = span_str(r->address),
			.user = span_str(r->user),
			.detail = span_str(r->detail),
			.store = span_str(r->store),
			.fate = o->fate == FATE_LATER ? SPOOL_WAITING : SPOOL_REFUSED,
			.notify = r->notify,
			.orcpt = span_str(r->orcpt),
			.code = o->code,
			.enhanced = span_str(o->enhanced),
			.text = span_str(o->text),
			.remote = span_str(o->remote ? r->store : NULL),
		};
	}
	return n;
}

static void ask_spool(struct commit *c)
{
	const struct transaction *t = c->t;
	struct spool_message m = commit_envelope(t);
	struct spool_put_opts opts = {
		.message = &m, .body = commit_body(t), .deadline_ms = c->owner->edge->spool_timeout
	};
	c->state = CM_SPOOL;
	m.body_bytes = opts.body.size;
	m.recipients = mem_array(t->recipient_count, sizeof(*m.recipients));
	m.recipient_count = pick(c, m.recipients);
	c->ask = t->unit != NULL ? commit_unit_join(t->unit, t, &m, on_spooled, c)
				 : spool_put(c->owner->spool, &opts, on_spooled, c);
	mem_free(m.recipients);
}

/* May end c. */
static void settle(struct commit *c)
{
	if (count(c, FATE_LATER) > 0 || c->tell) {
		ask_spool(c);
		return;
	}
	if (c->t->unit != NULL)
		commit_unit_pass(c->t->unit);
	finish(c);
}

/* ---- the sender -------------------------------------------------------------------------------- */

static void log_untold(const struct commit *c, const char *why)
{
	log_write(&queue_events[QUEUE_EV_NOT_BOUNCED], c->t->id.s,
	    LOG_FIELDS(LOG_STR("sender", c->t->sender),
		LOG_U64("recipients", count(c, FATE_REFUSED)), LOG_STR("why", why)));
}

/* Unknown: told, if the queue finds it to be ours when the directory answers again. */
static void on_sender(void *arg, enum directory_status status, const struct account *a)
{
	struct commit *c = OBJ(commit, arg);
	c->ask = NULL;
	c->tell = status != DIRECTORY_ABSENT;
	if (!c->tell)
		log_untold(c, transaction_untold);
	settle(c);
}

static bool any_wants_failure(const struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (t->recipients[i].outcome.fate == FATE_REFUSED &&
		    recipient_wants(t->recipients[i].notify, SMTP_NOTIFY_FAILURE))
			return true;
	return false;
}

/* The reply will say 250 although some are refused: who tells the sender? See bounce.c. */
static void ask_sender(struct commit *c)
{
	const struct transaction *t = c->t;
	c->state = CM_SENDER;
	if (t->sender[0] == '\0') {
		log_untold(c, "null sender");
		settle(c);
	} else if (!any_wants_failure(t)) {
		settle(c);
	} else if (t->disowned) {
		log_untold(c, transaction_untold);
		settle(c);
	} else if (t->trusted || t->aligned) {
		c->tell = true;
		settle(c);
	} else {
		c->ask = directory_find(c->owner->directory, span_str(t->sender), on_sender, c);
	}
}

/* ---- the stores -------------------------------------------------------------------------------- */

void commit_stores_done(struct commit *c)
{
	size_t refused = count(c, FATE_REFUSED);
	timer_clear(&c->deadline);
	if (refused > 0 && (refused < c->t->recipient_count || c->t->unit != NULL))
		ask_sender(c);
	else
		settle(c);
}

/* The stores had their time. Whoever is left goes to the spool, except where the end of the message was
 * said to a server that knows no delivery ids: it may have the message, and a second copy by way of the
 * spool could not be told from the first. Such a server gets its full final_timeout. If it is silent
 * even then, its recipients go to the spool all the same: a message twice is better than none, and the
 * client, told to come back, would do no better. */
static void on_deadline(void *arg)
{
	struct commit *c = OBJ(commit, arg);
	bool spare = c->state == CM_STORES;
	for (size_t i = 0; i < c->group_count; i++)
		if (!spare || !group_in_doubt(&c->groups[i]))
			group_give_up(&c->groups[i]);
	if (c->groups_open == 0) {
		commit_stores_done(c);
		return;
	}
	c->state = CM_DOUBT;
	timer_set(&c->deadline, c->owner->edge->final_timeout);
}

/* ---- public ------------------------------------------------------------------------------------ */

static struct span held_text(const struct transaction *t)
{
	return t->hold_why != NULL ? span_str(t->hold_why) : SPAN("held for a filter");
}

/* Is its sender to be told that an address was expanded? Then that is durable with what its members get, or nobody has anything. */
static bool any_expanded(const struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (span_eq_str(span_str(t->recipients[i].store), EXPANDED_PLACE))
			return true;
	return false;
}

/* For the queue from the start: what is to be held or relayed, what goes to or by way of a named channel, that of which the sender wants a report of
 * success, which must not be lost with this process, and parts of a mail, of which no store may have one while another can still be refused. */
static void set_queued(struct transaction *t, const struct edge_conf *c)
{
	bool reports = any_expanded(t);
	for (size_t i = 0; i < t->recipient_count; i++) {
		const struct recipient *r = &t->recipients[i];
		if (r->outcome.fate != FATE_OPEN)
			continue;
		bool report = reports || transaction_tells_success(t, r);
		bool channel =
		    channel_is_place(r->store) || channel_has_station(c, span_str(r->address));
		if (t->hold || channel || r->user == NULL || report || t->unit != NULL)
			outcome_set(&t->recipients[i].outcome, FATE_LATER, 250, "2.0.0",
			    t->hold           ? held_text(t)
			    : channel         ? SPAN("to its channel")
			    : r->user == NULL ? SPAN("to be relayed")
			    : report          ? SPAN("to be reported on")
					      : SPAN("with the rest of its mail"));
	}
}

struct ticket *commit_start(
    struct committer *owner, struct transaction *t, void (*fn)(void *arg), void *arg)
{
	CHECK(t->recipient_count > 0);
	struct commit *c = MEM_NEW(struct commit);
	c->ticket.cancel = cancel;
	c->magic = commit_MAGIC;
	c->owner = owner;
	c->t = t;
	c->fn = fn;
	c->arg = arg;
	timer_init(&c->deadline, owner->loop, on_deadline, c);
	list_add_tail(&owner->running, &c->link);
	set_queued(t, owner->edge);
	groups_start(c);
	if (count(c, FATE_LATER) == t->recipient_count)
		ask_spool(c);
	else /* without a store there is nothing to wait for */
		timer_set(&c->deadline, c->group_count > 0 ? owner->edge->commit_timeout : 0);
	return &c->ticket;
}

static void set_conf(struct committer *k, const struct conf *conf)
{
	struct conf *old = k->conf;
	k->conf = conf_ref(conf);
	k->edge = conf_section(conf, &edge_block);
	conf_unref(&old);
}

/* ---- ETRN ------------------------------------------------------------------------------------- */

struct kick_ask {
	struct ticket base; /* first */
	struct ticket *ask; /* owned */
	char node[ETRN_NODE_MAX + 1];
	void (*fn)(void *arg, const struct etrn_answer *a);
	void *arg;
};

static void kick_cancel(struct ticket *t)
{
	struct kick_ask *k = (struct kick_ask *)t;
	ticket_cancel(&k->ask);
	mem_free(k);
}

static void on_kicked(void *arg, err_t err, size_t recipients, bool more)
{
	struct kick_ask *k = arg;
	const struct etrn_answer a = { span_str(k->node), err, recipients, more };
	k->fn(k->arg, &a);
	mem_free(k);
}

struct ticket *committer_kick(struct committer *c, struct span node,
    void (*fn)(void *arg, const struct etrn_answer *a), void *arg)
{
	struct kick_ask *k = MEM_NEW(struct kick_ask);
	k->base.cancel = kick_cancel;
	k->fn = fn;
	k->arg = arg;
	snprintf(k->node, sizeof k->node, "%.*s", SPAN_ARG(node));
	k->ask = spool_kick(c->spool, node, KICK_MS, on_kicked, k);
	return &k->base;
}

struct committer *committer_new(
    struct loop *l, struct dns *dns, struct directory *d, const struct conf *conf)
{
	char path[SPOOL_PATH_SIZE];
	struct committer *k = MEM_NEW(struct committer);
	k->loop = l;
	k->directory = d;
	set_conf(k, conf);
	k->pool = out_conf_new(l, dns, conf, OUT_FOR_COMMIT);
	k->spool = spool_link_new(l, spool_socket_path(daemon_run_dir(conf), path));
	k->memory = store_memory_new(MEMORY_MAX);
	list_init(&k->running);
	return k;
}

void committer_reload(struct committer *k, const struct conf *fresh)
{
	set_conf(k, fresh);
	out_conf_set(k->pool, fresh, OUT_FOR_COMMIT);
}

void committer_free(struct committer **pk)
{
	struct committer *k = *pk;
	if (k == NULL)
		return;
	while (!list_empty(&k->running))
		commit_free(LIST_OF(struct commit, link, k->running.next));
	out_pool_free(&k->pool);
	spool_link_free(&k->spool);
	store_memory_free(&k->memory);
	conf_unref(&k->conf);
	MEM_FREE(pk);
}
