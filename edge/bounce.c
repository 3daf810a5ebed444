/* bounce.c - tells a sender what became of its message, where that does no harm.
 *
 * A null sender is never told. A sender is told when it is trusted (it authenticated, or came from a
 * listed network), when SPF says that its client may send for it, or when it is a user of ours, of whom SPF does not say
 * the contrary: anybody else may be a stranger whose address was borrowed. The
 * notification is a message of the spool like any other (queue_move.c), and its record is also the record that the
 * sender was told. A notification that is refused itself goes to the postmaster, and no further. */
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"
#include "edge/transaction.h"

#define telling_MAGIC 0x90e0e015u

enum {
	TELL_RUNS_MAX =
	    100, /* reports that are written, or copied, at the same time: at most 64 KiB of each in memory */
	TELLINGS_MAX = 1000, /* with those that wait for their turn; more leave memory meanwhile */
	TEXT_MAX = 512 * 1024, /* of a report, beside the message that comes back */
	LOOKUP_AGAIN_MS = 30 * 1000,
	COPY_AGAIN_MS = 5 * 1000, /* behind copy_timeout */
};

/* A report on its way into the log. */
struct telling {
	struct ticket ticket; /* first: of its entry */
	uint32_t magic;
	struct q_entry *entry;
	struct list_node link; /* in queue.tellings, until its turn comes */
	bool runs;
	char *address, *user; /* owned; whom it goes to */
	struct ident id;
	struct ticket *move; /* owned */
};

static const struct schedule *times_of(const struct q_item *it)
{
	return &item_channel(it)->times;
}

/* Is a notice of delay about this one, too? */
static bool is_late(const struct q_item *it)
{
	return it->attempts > 0 && report_has(it, REPORT_DELAY);
}

/* How many notices of delay there should have been by now, by the channel of those that wait which has most; of those
 * that were missed one is sent. */
static unsigned notices_due(const struct q_entry *e)
{
	enum priority_class class = priority_class_of(e->priority);
	uint64_t now_us = queue_now_us(e->queue);
	uint64_t age_ms = now_us > e->arrived_us ? (now_us - e->arrived_us) / 1000 : 0;
	unsigned most = 0;
	for (size_t i = 0; i < e->item_count; i++) {
		if (!is_late(&e->items[i]))
			continue;
		unsigned due = schedule_notices(times_of(&e->items[i]), class, age_ms);
		most = due > most ? due : most;
	}
	return most;
}

uint64_t bounce_delay_age_ms(const struct q_entry *e)
{
	enum priority_class class = priority_class_of(e->priority);
	uint64_t first = UINT64_MAX;
	for (size_t i = 0; i < e->item_count && e->sender[0] != '\0'; i++) {
		if (e->items[i].state == Q_FINAL)
			continue;
		uint64_t at = schedule_notice(times_of(&e->items[i]), class, e->notices);
		first = at < first ? at : first;
	}
	return first;
}

static size_t reported_count(const struct q_entry *e)
{
	size_t n = 0;
	for (size_t i = 0; i < e->item_count; i++)
		n += report_has(&e->items[i], e->reporting);
	return n;
}

/* The sender has been told, or is not to be: in memory, and in the log for the time when the
 * notification's record is gone from it. */
static void mark_told(struct q_entry *e, bool save)
{
	struct q_item **items = mem_array(e->item_count, sizeof(struct q_item *));
	size_t n = 0;
	if (e->reporting == REPORT_DELAY)
		e->notices = notices_due(e);
	for (size_t i = 0; i < e->item_count && e->reporting != REPORT_DELAY; i++) {
		if (!report_has(&e->items[i], e->reporting))
			continue;
		e->items[i].fate = SPOOL_TOLD;
		items[n++] = &e->items[i];
	}
	e->reporting = REPORT_NONE;
	if (save)
		entry_save(e, items, n);
	mem_free(items);
}

static void not_told(struct q_entry *e, const char *why)
{
	bool is_end = e->reporting != REPORT_DELAY;
	if (is_end)
		log_write(&queue_events[QUEUE_EV_NOT_BOUNCED], e->id.s,
		    LOG_FIELDS(LOG_STR("sender", e->sender),
			LOG_U64("recipients", reported_count(e)), LOG_STR("why", why)));
	mark_told(e, is_end);
	entry_settle(e);
}

/* ---- sending ------------------------------------------------------------------------------------ */

/* It may leave memory until then. */
static void later(struct q_entry *e, uint64_t wait_ms)
{
	e->reporting = REPORT_NONE;
	timer_set(&e->again, wait_ms);
	entry_rest(e);
}

static void log_told(const struct q_entry *e, struct ident id, const char *to)
{
	static const char *const kinds[REPORTS] = { "", "end", "delay", "double", "tls" };
	metric_add(&queue_metrics[QUEUE_M_BOUNCED], 1);
	log_write(&queue_events[QUEUE_EV_BOUNCED], e->id.s,
	    LOG_FIELDS(LOG_STR("sender", to), LOG_STR("notification", id.s),
		LOG_STR("kind", kinds[e->reporting]), LOG_U64("recipients", reported_count(e))));
}

/* The same for the same recipients, or for the same notice of delay: whoever makes it once more, here after a crash or at a
 * host that has adopted the message, makes no other one. */
static struct ident report_id(const struct q_entry *e)
{
	static const char *const ways[REPORTS] = { "", "end", "delay", "double", "tls" };
	unsigned which = notices_due(e);
	if (e->reporting != REPORT_DELAY)
		which = 0;
	for (size_t i = 0; i < e->item_count && e->reporting != REPORT_DELAY; i++)
		if (report_has(&e->items[i], e->reporting))
			which = hash_crc32c(which, &i, sizeof i);
	return move_id(&e->id, ways[e->reporting], which);
}

static void tell_next(struct queue *q);

static void telling_free(struct telling *t)
{
	struct queue *q = t->entry->queue;
	ticket_cancel(&t->move);
	list_remove(&t->link);
	q->telling_n--;
	q->telling_runs -= t->runs;
	mem_free(t->address);
	mem_free(t->user);
	t->magic = 0;
	mem_free(t);
}

/* Its entry goes, with all others: the queue is being closed. */
static void telling_cancel(struct ticket *ticket)
{
	telling_free(OBJ(telling, ticket));
}

/* Those that it is about may have got another end meanwhile, or more the same: then it is written anew. */
static bool is_wanted(void *arg)
{
	const struct telling *t = OBJ(telling, arg);
	return reported_count(t->entry) > 0 && strcmp(report_id(t->entry).s, t->id.s) == 0;
}

/* Frees t. */
static void told(struct telling *t, err_t err)
{
	struct q_entry *e = t->entry;
	struct queue *q = e->queue;
	e->ask = NULL;
	if (err == ERR_OK)
		log_told(e, t->id, t->address);
	telling_free(t);
	if (err == ERR_OK) {
		mark_told(e, true);
		entry_settle(e);
	} else if (err == ERR_CANCELLED) {
		e->reporting = REPORT_NONE;
		entry_settle(e);
	} else {
		later(e, err == ERR_NO_COPY ? COPY_AGAIN_MS : AGAIN_MS);
	}
	tell_next(q);
}

static void on_moved(void *arg, err_t err)
{
	struct telling *t = OBJ(telling, arg);
	t->move = NULL;
	told(t, err);
}

/* It is written now. */
static void begin(struct telling *t)
{
	struct q_entry *e = t->entry;
	struct queue *q = e->queue;
	struct buf text = BUF_INIT(TEXT_MAX + (size_t)q->edge->report_size_max);
	struct spool_recipient to = { .address = span_str(t->address), .user = span_str(t->user) };
	t->id = report_id(e);
	struct spool_message m = { .id = t->id,
		.session = e->session,
		.parent = e->id,
		.report = e->reporting,
		.notices = notices_due(e),
		.body_8bit = true,
		.smtputf8 = e->smtputf8,       /* RFC 6533 */
		.require_tls = e->require_tls, /* RFC 8689 section 5: as the message itself */
		.tls_optional = e->tls_optional,
		.arrived_us = queue_now_us(q),
		.recipients = &to,
		.recipient_count = 1 };
	(void)report_put(&text, e, m.id, t->address); /* what does not fit is left out */
	struct move_report r = { &m, buf_span(&text), is_wanted };
	t->move = move_report(q, &r, on_moved, t);
	buf_end(&text);
}

static void tell_next(struct queue *q)
{
	struct list_node *n;
	while (q->telling_runs < TELL_RUNS_MAX && (n = list_pop(&q->tellings)) != NULL) {
		struct telling *t = LIST_OF(struct telling, link, n);
		t->runs = true;
		q->telling_runs++;
		begin(t);
	}
}

/* To an address, which is of ours when an account comes with it. */
static void tell(struct q_entry *e, const char *address, const struct account *a)
{
	struct queue *q = e->queue;
	if (q->telling_n >= TELLINGS_MAX) {
		later(e, LOOKUP_AGAIN_MS);
		return;
	}
	struct telling *t = MEM_NEW(struct telling);
	t->ticket.cancel = telling_cancel;
	t->magic = telling_MAGIC;
	t->entry = e;
	t->address = mem_str(address);
	t->user = a != NULL ? mem_str(a->user) : NULL;
	e->ask = &t->ticket;
	q->telling_n++;
	list_add_tail(&q->tellings, &t->link);
	tell_next(q);
}

/* Who has sent it: a return path that we have made for a forward is read back. */
static const char *first_sender(const struct q_entry *e, struct smtp_path *room)
{
	struct srs srs;
	edge_srs(&srs, e->queue->edge);
	if (srs_reverse(&srs, span_str(e->sender), clock_wall_us(), room) == SRS_GOOD)
		return room->address;
	return e->sender;
}

static const char *postmaster(const struct q_entry *e)
{
	const struct edge_conf *c = e->queue->edge;
	return c->double_bounce != NULL ? c->double_bounce : c->postmaster;
}

static void on_address(void *arg, enum directory_status status, const struct account *a)
{
	struct q_entry *e = OBJ(q_entry, arg);
	struct smtp_path room;
	const char *to = e->reporting == REPORT_DOUBLE ? postmaster(e) : first_sender(e, &room);
	bool known = status == DIRECTORY_FOUND;
	e->ask = NULL;
	if (status == DIRECTORY_UNKNOWN || e->queue->spool == NULL || to == NULL) {
		later(e, LOOKUP_AGAIN_MS);
	} else if (reported_count(e) == 0) { /* delivered meanwhile */
		e->reporting = REPORT_NONE;
		entry_settle(e);
	} else if ((known && !e->disowned) || entry_may_tell(e) || e->reporting == REPORT_DOUBLE) {
		tell(e, to, known ? a : NULL);
	} else {
		not_told(e, transaction_untold);
	}
}

static void ask(struct q_entry *e, enum spool_report kind, const char *address)
{
	e->reporting = kind;
	e->ask = directory_find(e->queue->directory, span_str(address), on_address, e);
}

void bounce_start(struct q_entry *e)
{
	bool is_ours = e->report == REPORT_END || e->report == REPORT_DELAY;
	struct smtp_path room;
	if (e->sender[0] != '\0') {
		ask(e, REPORT_END, first_sender(e, &room));
	} else if (is_ours && postmaster(e) != NULL) {
		ask(e, REPORT_DOUBLE, postmaster(e));
	} else {
		e->reporting = REPORT_END;
		not_told(e, "null sender");
	}
}

/* ---- delay -------------------------------------------------------------------------------------- */

bool bounce_delay_is_due(const struct q_entry *e)
{
	return e->sender[0] != '\0' && notices_due(e) > e->notices;
}

void bounce_delay(struct q_entry *e)
{
	struct smtp_path room;
	ask(e, REPORT_DELAY, first_sender(e, &room));
}
