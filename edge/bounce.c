/* bounce.c - tells a sender what could not be delivered (RFC 3464), where that does no harm.
 *
 * A null sender is never told. A sender is told when it authenticated, or is a user of ours: anybody else
 * may be a stranger whose address was borrowed. The notification is a message of the spool like any other,
 * and its record is also the record that these recipients were told. */
#include <inttypes.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/queue_internal.h"
#include "proto/header.h"

enum {
	TEXT_MAX = SPOOL_INLINE_MAX,
	LISTED_MAX = 60,         /* recipients described one by one */
	HEADERS_MAX = 16 * 1024, /* of the message that came back */
	LOOKUP_AGAIN_MS = 30 * 1000,
};

static size_t refused_count(const struct q_entry *e)
{
	size_t n = 0;
	for (size_t i = 0; i < e->item_count; i++)
		n += e->items[i].fate == SPOOL_REFUSED;
	return n;
}

static void mark_told(struct q_entry *e)
{
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].fate == SPOOL_REFUSED)
			e->items[i].fate = SPOOL_TOLD;
}

/* ---- the text ----------------------------------------------------------------------------------- */

static void put_heading(struct buf *out, const struct q_entry *e, struct ident id)
{
	char date[CLOCK_RFC5322_SIZE];
	const char *host = e->queue->hostname;
	buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host);
	buf_printf(out, "To: <%s>\r\n", e->sender);
	buf_printf(out, "Subject: Undelivered mail returned to sender\r\n");
	buf_printf(out, "Date: %s\r\n", clock_rfc5322(clock_wall_us(), date));
	buf_printf(out, "Message-ID: <%s@%s>\r\n", id.s, host);
	buf_printf(out,
	    "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	    "\tboundary=\"%s\"\r\n\r\n",
	    id.s);
}

static void put_words(struct buf *out, const struct q_entry *e, struct ident id)
{
	size_t listed = 0, refused = refused_count(e);
	buf_printf(out,
	    "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n\r\n"
	    "Your message could not be delivered to:\r\n\r\n",
	    id.s);
	for (size_t i = 0; i < e->item_count && listed < LISTED_MAX; i++) {
		const struct q_item *it = &e->items[i];
		if (it->fate != SPOOL_REFUSED)
			continue;
		listed++;
		buf_printf(out, "<%s>\r\n    %u %s %s\r\n", it->address, it->code, it->enhanced,
		    it->reason != NULL ? it->reason : "");
	}
	if (refused > listed)
		buf_printf(out, "and %zu more\r\n", refused - listed);
	buf_printf(out, "\r\nIt will not be tried again. Its transaction id at %s was %s.\r\n\r\n",
	    e->queue->hostname, e->id.s);
}

static void put_status(struct buf *out, const struct q_entry *e, struct ident id)
{
	char date[CLOCK_RFC5322_SIZE];
	size_t listed = 0;
	buf_printf(out,
	    "--%s\r\nContent-Type: message/delivery-status\r\n\r\n"
	    "Reporting-MTA: dns; %s\r\nX-Postern-Id: rfc822; %s\r\nArrival-Date: %s\r\n",
	    id.s, e->queue->hostname, e->id.s, clock_rfc5322(e->arrived_us, date));
	for (size_t i = 0; i < e->item_count && listed < LISTED_MAX; i++) {
		const struct q_item *it = &e->items[i];
		if (it->fate != SPOOL_REFUSED)
			continue;
		listed++;
		buf_printf(out,
		    "\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: %s\r\n"
		    "Diagnostic-Code: smtp; %u %s %s\r\n",
		    it->address, it->enhanced, it->code, it->enhanced,
		    it->reason != NULL ? it->reason : "");
	}
	buf_add_str(out, "\r\n");
}

/* As much of the header as is there and fits; whole lines only. */
static void put_original(struct buf *out, const struct q_entry *e, struct ident id)
{
	struct spool_reader *r = spool_reader_new(e->queue->spool, &e->body);
	struct mail_source src = spool_reader_source(r);
	err_t err = ERR_OK;
	struct span head = src.read(src.arg, 0, HEADERS_MAX, &err);
	head = span_first(head, header_size(head));
	size_t end = span_rfind(head, '\n');
	buf_printf(out, "--%s\r\nContent-Type: text/rfc822-headers\r\n\r\n", id.s);
	buf_add_span(out, span_first(head, end == SIZE_MAX ? 0 : end + 1));
	buf_printf(out, "\r\n--%s--\r\n", id.s);
	spool_reader_free(&r);
}

/* ---- sending ------------------------------------------------------------------------------------ */

static void not_told(struct q_entry *e, const char *why)
{
	struct q_item **items = mem_array(e->item_count, sizeof(struct q_item *));
	size_t n = 0;
	log_write(&queue_events[QUEUE_EV_NOT_BOUNCED], e->id.s,
	    LOG_FIELDS(LOG_STR("sender", e->sender), LOG_U64("recipients", refused_count(e)),
		LOG_STR("why", why)));
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].fate == SPOOL_REFUSED)
			items[n++] = &e->items[i];
	mark_told(e);
	entry_save(e, items, n);
	mem_free(items);
	entry_settle(e);
}

/* The sender as a recipient: of ours when the directory knows it. */
static void tell(struct q_entry *e, const struct account *a)
{
	struct queue *q = e->queue;
	struct buf text = BUF_INIT(TEXT_MAX);
	struct spool_recipient to = { .address = span_str(e->sender) };
	struct spool_message m = { .id = ident_new(),
		.session = e->session,
		.parent = e->id,
		.body_8bit = true,
		.arrived_us = clock_wall_us(),
		.recipients = &to,
		.recipient_count = 1 };
	log_pos pos = 0;
	if (a != NULL)
		to.user = span_str(a->user);
	put_heading(&text, e, m.id);
	put_words(&text, e, m.id);
	put_status(&text, e, m.id);
	put_original(&text, e, m.id);
	m.body_bytes = buf_len(&text);
	err_t err =
	    buf_ok(&text) ? spool_append_message(q->spool, &m, buf_span(&text), &pos) : ERR_BUG;
	buf_end(&text);
	if (err) {
		timer_set(&e->again, AGAIN_MS);
		if (err != ERR_NO_SPACE && err != ERR_BUSY)
			queue_spool_broke(q, err);
		return;
	}
	metric_add(&queue_metrics[QUEUE_M_BOUNCED], 1);
	log_write(&queue_events[QUEUE_EV_BOUNCED], e->id.s,
	    LOG_FIELDS(LOG_STR("sender", e->sender), LOG_STR("notification", m.id.s),
		LOG_U64("recipients", refused_count(e))));
	mark_told(e);
	queue_add(q, pos, &m);
	entry_settle(e);
}

static void on_sender(void *arg, enum directory_status status, const struct account *a)
{
	struct q_entry *e = OBJ(q_entry, arg);
	e->ask = NULL;
	if (status == DIRECTORY_UNKNOWN || e->queue->spool == NULL)
		timer_set(&e->again, LOOKUP_AGAIN_MS);
	else if (status == DIRECTORY_FOUND)
		tell(e, a);
	else if (e->auth_user[0] != '\0')
		tell(e, NULL);
	else
		not_told(e, "the sender is not a user of ours and has not authenticated");
}

void bounce_start(struct q_entry *e)
{
	if (e->sender[0] == '\0') {
		not_told(e, "null sender");
		return;
	}
	e->ask = directory_find(e->queue->directory, span_str(e->sender), on_sender, e);
}
