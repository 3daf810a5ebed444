/* deliver.c - step 6 of 6: one message to one destination, for the recipients that wait for it there.
 *
 * before: queue_route.c (what goes where), after: queue.c (what became of it). Owns the reader of the
 * message, the recipients' outcomes and whatever is being asked. The delivery id is the message's id, so
 * a store that has it from an attempt that was cut off answers without taking it twice. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/deliver_internal.h"
#include "edge/lmtp_address.h"
#include "edge/mx_order.h"
#include "edge/outcome.h"
#include "edge/out_conf.h"
#include "edge/run_outcome.h"
#include "edge/station.h"
#include "edge/tls_policy.h"
#include "proto/smtp_path.h"

enum { MX_TRIES = 5 };

static void on_sent(void *arg, const struct out_result *r);

static void delivery_free(struct q_delivery *dl)
{
	ticket_cancel(&dl->ask);
	list_remove(&dl->link);
	for (size_t i = 0; i < dl->n; i++)
		mem_free((char *)(uintptr_t)dl->recipients[i].address);
	spool_reader_free(&dl->reader);
	sts_rules_unref(&dl->sts);
	out_dane_end(&dl->dane);
	mem_free(dl->items);
	mem_free(dl->recipients);
	mem_free(dl->outcomes);
	dl->magic = 0;
	mem_free(dl);
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void log_outcome(const struct q_item *it, const struct q_dest *d, struct ip_port peer)
{
	const struct q_entry *e = it->entry;
	enum queue_event ev = it->state == Q_WAIT           ? QUEUE_EV_DEFERRED
			      : it->fate == SPOOL_DELIVERED ? QUEUE_EV_DELIVERED
							    : QUEUE_EV_REFUSED;
	uint64_t now = queue_now_us(e->queue);
	char delays[DELAYS_SIZE];
	log_write(&queue_events[ev], e->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_STR("destination", d->name),
		LOG_ADDR("peer", peer), LOG_U64("attempts", it->attempts),
		LOG_U64("age_s", now > e->arrived_us ? (now - e->arrived_us) / 1000000 : 0),
		LOG_U64("next_s", it->due_us > now ? (it->due_us - now) / 1000000 : 0),
		LOG_STR("delays", delays_text(&it->delays, delays)), LOG_U64("code", it->code),
		LOG_STR("text", it->reason)));
}

/* Trouble of the whole host or of the way to it, not of a mailbox or a message (RFC 3463). */
static bool is_systemic(const struct outcome *o)
{
	return o->fate == FATE_LATER &&
	       (strncmp(o->enhanced, "4.3.", 4) == 0 || strncmp(o->enhanced, "4.4.", 4) == 0);
}

/* A host that takes connections and complains may mean the one message. */
static enum q_word word_of(const struct q_delivery *dl, enum out_end end)
{
	bool remote = false;
	if (end != OUT_ANSWERED)
		return Q_WORD_DOWN;
	for (size_t i = 0; i < dl->n; i++) {
		if (!is_systemic(&dl->outcomes[i]))
			return Q_WORD_GOOD;
		remote = remote || dl->outcomes[i].remote;
	}
	return remote ? Q_WORD_COMPLAINT : Q_WORD_DOWN;
}

static struct q_delays delays_of(const struct q_delivery *dl)
{
	const struct q_entry *e = dl->entry;
	uint64_t now = queue_now_us(dl->queue);
	uint64_t added = e->added_us != 0 ? e->added_us : e->arrived_us;
	struct q_delays d = { .talk = dl->talk_ms };
	uint64_t taken = now > dl->began_us ? (now - dl->began_us) / 1000 : 0;
	d.before = added > e->arrived_us ? (added - e->arrived_us) / 1000 : 0;
	d.queued = dl->began_us > added ? (dl->began_us - added) / 1000 : 0;
	d.setup = taken > d.talk ? taken - d.talk : 0;
	d.total = 1 + d.before + d.queued + taken;
	return d;
}

/* Its recipients have their outcomes: whoever waits for its place goes on. Frees dl. */
static void delivery_over(struct q_delivery *dl)
{
	struct queue *q = dl->queue;
	struct q_dest *d = dl->dest;
	struct q_entry *e = dl->entry;
	delivery_free(dl);
	dest_release(d);
	entry_settle(e);
	queue_run_stalled(q);
	queue_check_drained(q);
}

/* Whose words a next hop's are: a store has the name that the directory gives it. */
static const char *host_of(const struct q_delivery *dl)
{
	return dl->dest->kind == DEST_STORE ? dl->dest->name : dl->host;
}

/* Behind those that have not been tried: one of them may show that its destination is up. */
static void hold_back(struct q_delivery *dl)
{
	for (size_t i = 0; i < dl->n; i++)
		if (dl->items[i]->state == Q_WAIT)
			dest_hold(dl->items[i]);
}

static void finish(struct q_delivery *dl, enum out_end end, struct ip_port peer)
{
	struct q_dest *d = dl->dest;
	enum q_word word = word_of(dl, end);
	struct q_delays delays = delays_of(dl);
	for (size_t i = 0; i < dl->n; i++) {
		struct q_item *it = dl->items[i];
		if (dl->dsn && dl->outcomes[i].fate == FATE_DELIVERED) /* its host reports */
			it->notify &= ~(unsigned)SMTP_NOTIFY_SUCCESS;
		it->delays = delays;
		item_outcome(it, &dl->outcomes[i], host_of(dl));
		log_outcome(it, d, peer);
	}
	entry_save(dl->entry, dl->items, dl->n);
	if (dest_hears(d, word, dl->outcomes[0].text))
		hold_back(dl);
	delivery_over(dl);
}

static void finish_all(
    struct q_delivery *dl, enum fate fate, unsigned code, const char *enhanced, const char *text)
{
	for (size_t i = 0; i < dl->n; i++)
		outcome_set(&dl->outcomes[i], fate, code, enhanced, span_str(text));
	finish(dl, OUT_ANSWERED, (struct ip_port){ 0 });
}

/* ---- sending ------------------------------------------------------------------------------------ */

/* What a stranger's DNS, or an address in brackets, leads to is not this host itself. */
static void send_to(struct q_delivery *dl, const struct out_target *way)
{
	struct out_target to = *way;
	to.foreign = dl->dest->kind == DEST_DOMAIN && !dl->queue->edge->mx_loopback;
	dl->ask = out_pool_send(dl->queue->pool, &to, &dl->mail, on_sent, dl);
}

static bool send_next_mx(struct q_delivery *dl);

/* This host does not get it now: the next one, or later. Last statement of whoever calls it. */
static void pass_over(struct q_delivery *dl, const char *enhanced, const char *text)
{
	dl->may_wait = true;
	if (!send_next_mx(dl))
		finish_all(dl, FATE_LATER, 451, enhanced, text);
}

/* This host does not keep the sender's wish for TLS, nor will it later. Last statement of whoever calls it. */
static void pass_over_for_good(struct q_delivery *dl, const char *text)
{
	if (send_next_mx(dl))
		return;
	if (dl->may_wait)
		finish_all(dl, FATE_LATER, 451, "4.7.10", text);
	else
		finish_all(dl, FATE_REFUSED, 550, WISH_NO_TLS, text);
}

/* Its sender asks for no policy of the domain to hold it up (TLS-Required: no). What the operator says does, DANE too. */
static bool may_relax(const struct q_delivery *dl)
{
	return dl->entry->tls_optional && dl->tls != OUT_TLS_DANE;
}

/* To the same host as if its domain had no policy. */
static void send_relaxed(struct q_delivery *dl)
{
	struct out_target to = {
		.kind = OUT_SMTP, .host = dl->host, .port = dl->port, .tls = dl->tls
	};
	dl->relaxed = true;
	send_to(dl, &to);
}

/* The domain's policies do not let the mail go to this host. Last statement of whoever calls it. */
static void stop_here(struct q_delivery *dl, const char *enhanced, const char *text)
{
	if (may_relax(dl))
		send_relaxed(dl);
	else
		pass_over(dl, enhanced, text);
}

/* The policies were kept to and the host would not do: it is not what the sender wants to wait for. */
static bool is_stopped(const struct q_delivery *dl, const struct out_result *r)
{
	return dl->enforced && !dl->relaxed && may_relax(dl) && r->end == OUT_UNREACHED &&
	       (r->tls > OUT_TLS_GOOD || r->untried);
}

/* How much TLS a host gets that DNSSEC does not speak for. False: mail must not go there. Where the policy is all that vouches
 * for its name, its certificate has to be one that the policy asks for, even if that is under test. */
static bool sts_tls(struct q_delivery *dl, enum out_tls *tls)
{
	if (dl->sts == NULL)
		return true;
	bool allowed = sts_allows(dl->sts, dl->host);
	dl->judge = TLSRPT_STS;
	dl->mismatch = !allowed;
	if (dl->sts->policy.mode == STS_ENFORCE || (wish_holds(dl) && !dl->secure))
		*tls = OUT_TLS_STS;
	else if (allowed && *tls == OUT_TLS_MAY)
		*tls = OUT_TLS_STS_TEST;
	return allowed || dl->sts->policy.mode != STS_ENFORCE;
}

/* found: what DNSSEC says; NULL: nothing. */
static void send_smtp_now(struct q_delivery *dl, const struct out_dane *found)
{
	struct out_dane dane = found != NULL ? *found : (struct out_dane){ 0 };
	struct out_target to = {
		.kind = OUT_SMTP, .host = dl->host, .port = dl->port, .tls = dl->tls
	};
	dl->judge = TLSRPT_NO_POLICY;
	dl->mismatch = false;
	if (dane.tlsa.n > 0) {
		dl->judge = TLSRPT_TLSA;
		out_dane_end(&dl->dane);
		dl->dane = out_dane_copy(&dane);
		dane.domain = dl->dest->kind == DEST_DOMAIN ? dl->dest->name : NULL;
		to.tls = OUT_TLS_DANE;
		to.dane = &dane;
	} else if (!sts_tls(dl, &to.tls)) {
		const char *why = "the domain's MTA-STS policy does not name its mail exchanger";
		count_failure(dl, TLSRPT_STS, TLSRPT_VALIDATION_FAILURE);
		if (wish_holds(dl))
			pass_over_for_good(dl, why);
		else
			stop_here(dl, "4.7.5", why);
		return;
	}
	dl->enforced = to.tls == OUT_TLS_DANE || to.tls == OUT_TLS_STS;
	send_to(dl, &to);
}

static void on_policy(void *arg, enum tls_policy_answer answer, const struct out_dane *dane)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	/* with records that nobody can use any certificate would do: not for who requires TLS */
	if (answer == TLS_POLICY_DANE && dl->mail.require_tls && !tls_policy_is_usable(dane->tlsa))
		answer = TLS_POLICY_NONE;
	if (answer == TLS_POLICY_FAILED) {
		count_failure(dl, TLSRPT_TLSA, TLSRPT_DNSSEC_INVALID);
		stop_here(
		    dl, "4.4.3", "the next hop's address or TLSA records cannot be looked up now");
	} else if (answer == TLS_POLICY_NONE && dl->tls == OUT_TLS_DANE) {
		count_failure(dl, TLSRPT_TLSA, TLSRPT_DANE_REQUIRED);
		pass_over(dl, "4.7.5", "DANE is required, and the next hop has no TLSA records");
	} else {
		send_smtp_now(dl, answer == TLS_POLICY_DANE ? dane : NULL);
	}
}

/* A host with a name. How much TLS it gets its domain says, and the DNS when its name came from there by DNSSEC. */
static void send_smtp(struct q_delivery *dl, const char *host, uint16_t port)
{
	const struct edge_conf *c = dl->queue->edge;
	bool is_domain = dl->dest->kind == DEST_DOMAIN;
	dl->tls = is_domain ? tls_policy_of(c, dl->dest->name) : (enum out_tls)c->smtp_tls;
	if (dl->mail.require_tls && dl->tls < OUT_TLS_MUST)
		dl->tls = OUT_TLS_MUST;
	snprintf(dl->host, sizeof dl->host, "%s", host);
	dl->port = port;
	dl->relaxed = false;
	if (is_tls_report(dl) && dl->tls != OUT_TLS_NONE)
		dl->tls = OUT_TLS_MAY;
	bool wanted = dl->tls == OUT_TLS_DANE ||
		      (c->smtp_dane && dl->tls != OUT_TLS_NONE && !is_tls_report(dl));
	if (wanted && dl->secure)
		dl->ask = tls_policy_ask(dl->queue->dns, host, port, on_policy, dl);
	else if (dl->tls == OUT_TLS_DANE)
		pass_over(dl, "4.7.5", "DANE is required, and the next hop's name is not secure");
	else
		send_smtp_now(dl, NULL);
}

/* The next mail exchanger of those that mx_arrange() has left. False: none left. */
static bool send_next_mx(struct q_delivery *dl)
{
	if (dl->mx_next >= dl->mx.n || (dl->mx_tried >= MX_TRIES && !wish_holds(dl)))
		return false;
	const char *host = dl->mx.v[dl->mx_next++].host;
	if (!wish_holds(dl) || wish_trusts(dl, host))
		send_smtp(dl, host, (uint16_t)dl->queue->edge->relay_port);
	else
		pass_over_for_good(dl, "REQUIRETLS: neither DNSSEC nor an MTA-STS policy says that "
				       "this mail exchanger is the domain's");
	return true;
}

/* None of the domain's mail exchangers is anywhere: RFC 5321 section 5.1 wants that reported, not waited for. */
static bool is_nowhere(const struct q_delivery *dl)
{
	return dl->dest->kind == DEST_DOMAIN && dl->mx_absent > 0 && dl->mx_absent >= dl->mx.n;
}

static void on_sent(void *arg, const struct out_result *r)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	count_sent(dl, r);
	dl->mx_tried += !r->untried && !r->absent;
	dl->mx_absent += r->absent;
	if (is_stopped(dl, r)) {
		send_relaxed(dl);
		return;
	}
	enum out_end end = r->end;
	if (r->end == OUT_UNREACHED || r->unfit) {
		wish_note(dl, r);
		if (send_next_mx(dl))
			return;
		if (is_nowhere(dl)) {
			finish_all(dl, FATE_REFUSED, 550, "5.4.4",
			    "no mail exchanger of the domain has an address that mail may go to");
			return;
		}
		end = wish_settle(dl, r);
	}
	dl->dsn = r->dsn;
	dl->talk_ms = r->talk_ms;
	finish(dl, end, r->peer);
}

static void send_to_store(struct q_delivery *dl, const struct store_place *place)
{
	struct out_target to = { .kind = OUT_LMTP, .host = place->host, .port = place->lmtp };
	to.tls = out_conf_tls(dl->queue->edge, &to, dl->mail.require_tls);
	send_to(dl, &to);
}

static void on_store(void *arg, enum directory_status status, const struct store_place *place)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	if (status != DIRECTORY_FOUND)
		finish_all(
		    dl, FATE_LATER, 451, "4.3.0", "the directory cannot be asked for the store");
	else if (place->lmtp == 0)
		finish_all(dl, FATE_LATER, 451, "4.3.5", "the store does not take mail");
	else
		send_to_store(dl, place);
}

/* ---- the way there ------------------------------------------------------------------------------ */

static void on_sts(void *arg, const struct sts_answer *a)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	if (a->later && !dl->entry->tls_optional) {
		finish_all(dl, FATE_LATER, 451, "4.4.3", "the domain's MTA-STS policy has to wait");
		return;
	}
	dl->sts_fault = a->fault;
	dl->sts = a->rules != NULL ? sts_rules_ref(a->rules) : NULL;
	send_next_mx(dl);
}

/* The mail exchangers are known. What the operator says of a domain stands above what that says of itself; that it names
 * its mail exchangers is asked all the same where the sender wants to be sure of them. */
static void send_by_mx(struct q_delivery *dl)
{
	const struct queue *q = dl->queue;
	enum mx_use use = mx_arrange(&dl->mx, q->hostname);
	if (use != MX_USE) {
		finish_all(dl, FATE_REFUSED, 554, use == MX_OURS ? "5.4.6" : "5.4.4",
		    use == MX_OURS ? "mail for this domain would come back here"
				   : "no mail exchanger of the domain is a name of a host");
		return;
	}
	bool usual = q->edge->smtp_tls != (int)OUT_TLS_NONE &&
		     tls_policy_block(q->edge, dl->dest->name) == NULL && !is_tls_report(dl);
	if (q->channels[DEST_DOMAIN].limits.mta_sts && (usual || (wish_holds(dl) && !dl->secure)))
		dl->ask = sts_ask(q->sts, dl->dest->name, on_sts, dl);
	else
		send_next_mx(dl);
}

/* Without MX records the domain's own address takes its mail (RFC 5321 section 5.1). */
static void on_address(void *arg, const struct dns_addrs *a)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	if (a->status == DNS_FAILED)
		finish_all(dl, FATE_LATER, 451, "4.4.3", "the domain cannot be looked up now");
	else if (a->status == DNS_ABSENT)
		finish_all(
		    dl, FATE_REFUSED, 550, "5.1.2", "the domain does not exist or takes no mail");
	else {
		dl->mx.n = 1;
		snprintf(dl->mx.v[0].host, sizeof dl->mx.v[0].host, "%s", dl->dest->name);
		send_by_mx(dl);
	}
}

static void on_mx(void *arg, const struct dns_mx *mx)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	if (mx->status == DNS_FAILED) {
		finish_all(dl, FATE_LATER, 451, "4.4.3", "the domain cannot be looked up now");
		return;
	}
	dl->secure = mx->secure;
	if (mx->status == DNS_ABSENT) {
		dl->ask = dns_addr(dl->queue->dns, span_str(dl->dest->name), on_address, dl);
		return;
	}
	dl->mx = *mx;
	if (mx->n == 0)
		finish_all(dl, FATE_REFUSED, 556, "5.1.10", "the domain takes no mail");
	else
		send_by_mx(dl);
}

/* "[192.0.2.1]", "[IPv6:...]": the address inside. */
static void send_to_literal(struct q_delivery *dl)
{
	struct span in = span_str(dl->dest->name);
	in = span_first(span_from(in, 1), in.n - 2);
	if (span_istarts(in, SPAN("IPv6:")))
		in = span_from(in, 5);
	char *host = mem_span_str(in);
	send_smtp(dl, host, (uint16_t)dl->queue->edge->relay_port);
	mem_free(host);
}

static void send_to_route(struct q_delivery *dl)
{
	char host[ROUTE_HOST_SIZE] = "";
	uint16_t port = 0;
	if (route_split(span_str(dl->dest->name), host, &port))
		send_smtp(dl, host, port != 0 ? port : (uint16_t)dl->queue->edge->relay_port);
	else
		finish_all(dl, FATE_LATER, 451, "4.3.5", "this route cannot be used");
}

/* ---- programs and mailboxes of this host -------------------------------------------------------- */

static void on_run(void *arg, const struct run_result *r)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	dl->ask = NULL;
	run_outcome(&dl->outcomes[0], r);
	finish(dl, OUT_ANSWERED, (struct ip_port){ 0 });
}

/* ---- stations ----------------------------------------------------------------------------------- */

/* A station is no destination that could be down: what it cannot do for one message says nothing of the next. */
static void on_station(void *arg, const struct station_result *r)
{
	struct q_delivery *dl = OBJ(q_delivery, arg);
	struct q_dest *d = dl->dest;
	dl->ask = NULL;
	for (size_t i = 0; i < dl->n; i++) {
		if (r->end == STATION_OUTCOME) {
			item_outcome(dl->items[i], &r->outcome, NULL);
			log_outcome(dl->items[i], d, (struct ip_port){ 0 });
		} else {
			item_leave_station(dl->items[i], d, r);
		}
	}
	if (r->end != STATION_WAIT)
		entry_save(dl->entry, dl->items, dl->n);
	(void)dest_hears(d, Q_WORD_GOOD, "");
	delivery_over(dl);
}

static bool ask_station(struct q_delivery *dl)
{
	const struct edge_channel_conf *own = dl->queue->channels[dl->dest->kind].own;
	struct station_ask a = { dl->dest, dl->items, dl->n, &dl->mail.body };
	if (dl->dest->kind == DEST_UNPACK) {
		dl->ask = unpack_start(&a, on_station, dl);
		return true;
	}
	if (own == NULL || channel_is_end(own))
		return false;
	if (own->type == CHANNEL_REPROCESS)
		dl->ask = reprocess_start(&a, on_station, dl);
	else if (own->type == CHANNEL_DEFRAGMENT)
		dl->ask = defragment_start(&a, on_station, dl);
	else if (own->type == CHANNEL_CONVERSION)
		dl->ask = conversion_start(&a, on_station, dl);
	return dl->ask != NULL;
}

static void ask_runner(struct q_delivery *dl)
{
	if (ask_station(dl))
		return;
	dl->ask = channel_deliver(dl->dest, dl->items[0], dl->mail.body, on_run, dl);
	if (dl->ask == NULL)
		finish_all(dl, FATE_LATER, 451, "4.3.5", "its channel is not configured any more");
}

static void ask_way(struct q_delivery *dl)
{
	struct queue *q = dl->queue;
	const struct conf_hostport *relay = &q->edge->relay_host;
	dl->secure = dl->dest->kind != DEST_DOMAIN; /* an operator named it */
	switch (dl->dest->kind) {
	case DEST_STORE:
		dl->ask = directory_store(q->directory, span_str(dl->dest->name), on_store, dl);
		return;
	case DEST_RELAY:
		send_smtp(dl, dl->dest->name,
		    relay->port != 0 ? relay->port : (uint16_t)q->edge->relay_port);
		return;
	case DEST_ROUTE:
		send_to_route(dl);
		return;
	case DEST_DOMAIN:
		break;
	default:
		ask_runner(dl);
		return;
	}
	if (smtp_literal_ok(span_str(dl->dest->name)))
		send_to_literal(dl);
	else
		dl->ask = dns_mx(q->dns, span_str(dl->dest->name), on_mx, dl);
}

void deliver_start(struct q_dest *d, struct q_item *const *items, size_t n)
{
	struct q_delivery *dl = MEM_NEW(struct q_delivery);
	dl->magic = q_delivery_MAGIC;
	dl->queue = d->queue;
	dl->dest = d;
	dl->entry = items[0]->entry;
	dl->n = n;
	dl->began_us = queue_now_us(d->queue);
	dl->items = mem_array(n, sizeof(struct q_item *));
	dl->recipients = mem_array(n, sizeof(*dl->recipients));
	dl->outcomes = mem_array(n, sizeof(*dl->outcomes));
	for (size_t i = 0; i < n; i++) {
		dl->items[i] = items[i];
		dl->recipients[i].outcome = &dl->outcomes[i];
		dl->recipients[i].notify = items[i]->notify;
		dl->recipients[i].orcpt = items[i]->orcpt;
		dl->recipients[i].address = d->kind == DEST_STORE
						? lmtp_address_new(items[i]->user, items[i]->detail)
						: mem_str(items[i]->address);
	}
	dl->reader = spool_reader_new(d->queue->spool, &dl->entry->body);
	dl->mail = (struct out_mail){
		.id = dl->entry->id,
		.sender = dl->entry->sender,
		.body_8bit = dl->entry->body_8bit,
		.smtputf8 = dl->entry->smtputf8,
		.priority = dl->entry->priority,
		.require_tls = dl->entry->require_tls,
		.ret = dl->entry->ret,
		.envid = dl->entry->envid,
		.body = spool_reader_source(dl->reader),
		.recipients = dl->recipients,
		.recipient_count = n,
	};
	list_add_tail(&d->queue->deliveries, &dl->link);
	dest_begin(d);
	ask_way(dl);
}

void deliveries_free(struct queue *q)
{
	while (!list_empty(&q->deliveries)) {
		struct q_delivery *dl = LIST_OF(struct q_delivery, link, q->deliveries.next);
		dest_end(dl->dest);
		delivery_free(dl);
	}
}
