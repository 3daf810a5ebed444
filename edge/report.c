/* report.c - the text of a notification (RFC 3464): words for people, fields for programs, the message.
 *
 * Owns nothing. What a sender or another host has said is cleaned before it stands in a line here. A message that came with
 * SMTPUTF8 is reported in the types of RFC 6533, where addresses are UTF-8; in every other report fields are ASCII. */
#include "base/clock.h"
#include "base/fmt.h"
#include "daemon/daemon.h"
#include "edge/queue_internal.h"
#include "proto/header.h"
#include "proto/utf8_addr.h"

enum {
	LISTED_MAX = 60,         /* recipients described one by one */
	HEADERS_MAX = 16 * 1024, /* of the message that came back */
	PIECE = 32 * 1024,
	WORD_MAX = 600,
};

bool report_has(const struct q_item *it, enum spool_report kind)
{
	if (kind == REPORT_DELAY)
		return it->state != Q_FINAL && recipient_wants(it->notify, SMTP_NOTIFY_DELAY);
	return it->state == Q_FINAL && (it->fate == SPOOL_REFUSED || it->fate == SPOOL_SENT);
}

static const char *action_of(const struct q_item *it)
{
	if (it->state != Q_FINAL)
		return "delayed";
	if (it->fate == SPOOL_REFUSED)
		return "failed";
	if (span_eq_str(span_str(it->place), EXPANDED_PLACE))
		return span_eq_str(span_str(it->detail), EXPANDED_LIST) ? "delivered" : "expanded";
	struct span out = item_out_channel(it);
	return span_eq_str(out, "smtp") || span_eq_str(out, "relay") ? "relayed" : "delivered";
}

static bool has(const struct q_entry *e, enum spool_fate fate)
{
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_FINAL && e->items[i].fate == fate)
			return true;
	return false;
}

static bool is_ascii(struct span v)
{
	size_t n = 0;
	while (n < v.n && (unsigned char)v.p[n] < 0x80)
		n++;
	return n == v.n;
}

/* Another host's words in one line: UTF-8 where that may stand and is well-formed, else what is not ASCII becomes '?'. */
static void put_text(struct buf *out, struct span v, bool utf8)
{
	v = span_first(v, WORD_MAX);
	if (utf8 && span_is_utf8(v)) {
		fmt_line_text(out, v, v.n);
		return;
	}
	for (size_t i = 0; i < v.n; i++) {
		unsigned char c = (unsigned char)v.p[i];
		buf_add_char(out, (char)(c < ' ' || c >= 0x7f ? '?' : c));
	}
}

/* xtext, decoded, on one line. */
static void put_xtext(struct buf *out, const char *name, struct span xtext, bool utf8)
{
	struct buf raw = BUF_INIT(WORD_MAX);
	if (smtp_xtext_get(xtext, &raw)) {
		buf_printf(out, "%s", name);
		put_text(out, buf_span(&raw), utf8);
		buf_add_str(out, "\r\n");
	}
	buf_end(&raw);
}

/* An address in UTF-8 with its type; where that may not stand it is utf-8-addr-xtext (RFC 6533 section 3). */
static void put_utf8(struct buf *out, struct span address, bool utf8)
{
	buf_add_str(out, "utf-8; ");
	if (utf8)
		fmt_line_text(out, address, address.n);
	else
		utf8_addr_put(out, address);
}

/* With its type (RFC 3464 section 2.3.2). */
static void put_address(struct buf *out, struct span address, bool utf8)
{
	if (is_ascii(address) || !span_is_utf8(address)) {
		buf_add_str(out, "rfc822; ");
		put_text(out, address, false);
		return;
	}
	put_utf8(out, address, utf8);
}

/* ORCPT as it came, decoded; its type stays. */
static void put_first_address(struct buf *out, struct span orcpt, bool utf8)
{
	struct span value = orcpt, type = span_cut(&value, ';');
	struct buf address = BUF_INIT(WORD_MAX);
	buf_add_str(out, "Original-Recipient: ");
	if (span_ieq_str(type, "utf-8") && smtp_orcpt_get(orcpt, &address)) {
		put_utf8(out, buf_span(&address), utf8);
		buf_add_str(out, "\r\n");
	} else {
		buf_printf(out, "%.*s; ", SPAN_ARG(type));
		put_xtext(out, "", value, utf8);
	}
	buf_end(&address);
}

static const char *subject_of(const struct q_entry *e)
{
	if (e->reporting == REPORT_DELAY)
		return "Your mail waits for delivery";
	if (e->reporting == REPORT_DOUBLE)
		return "Undeliverable report";
	return has(e, SPOOL_REFUSED) ? "Undelivered mail returned to sender"
				     : "Your mail was delivered";
}

static void put_heading(struct buf *out, const struct q_entry *e, struct ident id, const char *to)
{
	char date[CLOCK_RFC5322_SIZE];
	const char *host = e->queue->hostname;
	buf_printf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", host);
	buf_printf(out, "To: <%s>\r\n", to);
	buf_printf(out, "Subject: %s\r\n", subject_of(e));
	buf_printf(out, "Date: %s\r\n", clock_rfc5322(clock_wall_us(), date));
	buf_printf(out, "Message-ID: <%s@%s>\r\n", id.s, host);
	if (e->tls_optional)
		buf_add_str(out, "TLS-Required: No\r\n");
	buf_add_str(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
}

static void put_type(struct buf *out, const struct q_entry *e, struct ident boundary)
{
	buf_printf(out,
	    "Content-Type: multipart/report; report-type=%s;\r\n"
	    "\tboundary=\"%s\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
	    e->smtputf8 ? "global-delivery-status" : "delivery-status", boundary.s);
}

/* ---- for people --------------------------------------------------------------------------------- */

static void put_listed(struct buf *out, const struct q_entry *e, bool failed)
{
	size_t listed = 0, more = 0;
	for (size_t i = 0; i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		bool is_failure = it->fate == SPOOL_REFUSED;
		if (!report_has(it, e->reporting) || is_failure != failed)
			continue;
		if (listed == LISTED_MAX) {
			more++;
			continue;
		}
		listed++;
		buf_printf(out, "<%s>\r\n    %u %s ", it->address, it->code, it->enhanced);
		put_text(out, span_str(it->reason), true);
		buf_add_str(out, "\r\n");
	}
	if (more > 0)
		buf_printf(out, "and %zu more\r\n", more);
}

static void put_words(struct buf *out, const struct q_entry *e, struct ident boundary)
{
	buf_printf(out,
	    "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Content-Transfer-Encoding: 8bit\r\n\r\n",
	    boundary.s);
	if (e->reporting == REPORT_DELAY) {
		buf_add_str(out, "Your message could not be delivered yet to:\r\n\r\n");
		put_listed(out, e, false);
		buf_add_str(out, "\r\nIt is tried again; you need not send it again.");
	} else if (has(e, SPOOL_REFUSED)) {
		buf_add_str(out, "Your message could not be delivered to:\r\n\r\n");
		put_listed(out, e, true);
		buf_add_str(out, "\r\nIt will not be tried again.");
	}
	if (e->reporting == REPORT_END && has(e, SPOOL_SENT)) {
		buf_add_str(out, "\r\nYour message was delivered, or given to the next mail system,"
				 " for:\r\n\r\n");
		put_listed(out, e, false);
	}
	buf_printf(
	    out, "\r\nThe transaction id at %s was %s.\r\n\r\n", e->queue->hostname, e->id.s);
}

/* ---- for programs ------------------------------------------------------------------------------- */

/* A name, or an address as a literal (RFC 3464 section 2.3.5). */
static void put_host(struct buf *out, struct span host)
{
	struct ip_addr addr;
	bool is_literal = ip_parse(host, &addr);
	buf_add_str(out, is_literal ? ip_is_v4(addr) ? "[" : "[IPv6:" : "");
	put_text(out, host, false);
	buf_add_str(out, is_literal ? "]\r\n" : "\r\n");
}

/* Who has said why: of a type that RFC 3464 section 2.3.6 knows are the words of a mail server alone. */
static void put_diagnostic(struct buf *out, const struct q_item *it, bool utf8)
{
	if (it->remote != NULL) {
		buf_add_str(out, "Remote-MTA: dns; ");
		put_host(out, span_str(it->remote));
		buf_printf(out, "Diagnostic-Code: smtp; %u %s ", it->code, it->enhanced);
	} else {
		buf_add_str(out, "Diagnostic-Code: X-Postern; ");
	}
	put_text(out, span_str(it->reason), utf8);
	buf_add_str(out, "\r\n");
}

static void put_recipient(struct buf *out, const struct q_item *it)
{
	const struct q_entry *e = it->entry;
	char date[CLOCK_RFC5322_SIZE];
	buf_add_str(out, "\r\n");
	if (it->orcpt != NULL)
		put_first_address(out, span_str(it->orcpt), e->smtputf8);
	buf_add_str(out, "Final-Recipient: ");
	put_address(out, span_str(it->address), e->smtputf8);
	buf_printf(out, "\r\nAction: %s\r\nStatus: %s\r\n", action_of(it), it->enhanced);
	put_diagnostic(out, it, e->smtputf8);
	if (it->state != Q_FINAL)
		buf_printf(out, "Will-Retry-Until: %s\r\n",
		    clock_rfc5322(e->arrived_us + 1000 * item_lifetime_ms(it), date));
}

static void put_status(struct buf *out, const struct q_entry *e, struct ident boundary)
{
	char date[CLOCK_RFC5322_SIZE];
	size_t listed = 0;
	buf_printf(out, "--%s\r\nContent-Type: message/%sdelivery-status\r\n%s\r\n", boundary.s,
	    e->smtputf8 ? "global-" : "", e->smtputf8 ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	if (e->envid != NULL)
		put_xtext(out, "Original-Envelope-Id: ", span_str(e->envid), false);
	buf_printf(out,
	    "Reporting-MTA: dns; %s\r\nX-Postern-Id: rfc822; %s\r\nArrival-Date: %s\r\n",
	    e->queue->hostname, e->id.s, clock_rfc5322(e->arrived_us, date));
	for (size_t i = 0; i < e->item_count && listed < LISTED_MAX; i++) {
		if (!report_has(&e->items[i], e->reporting))
			continue;
		listed++;
		put_recipient(out, &e->items[i]);
	}
	buf_add_str(out, "\r\n");
}

/* ---- the message -------------------------------------------------------------------------------- */

/* RET says what comes back of a message that failed; of others it is the header, and of those that want TLS too (RFC 8689
 * section 5). */
static bool is_full(const struct q_entry *e)
{
	return !e->require_tls && (e->ret == SMTP_RET_FULL || e->reporting == REPORT_DOUBLE) &&
	       has(e, SPOOL_REFUSED) && e->body.bytes <= e->queue->edge->report_size_max;
}

static void put_full(struct buf *out, struct mail_source *src)
{
	err_t err = ERR_OK;
	for (uint64_t at = 0; at < src->size;) {
		struct span piece = src->read(src->arg, at, PIECE, &err);
		if (err || piece.n == 0)
			return;
		buf_add_span(out, piece);
		at += piece.n;
	}
}

/* As much of the header as is there and fits; whole lines only. */
static void put_header(struct buf *out, struct mail_source *src)
{
	err_t err = ERR_OK;
	struct span head = src->read(src->arg, 0, HEADERS_MAX, &err);
	head = span_first(head, header_size(head));
	size_t end = span_rfind(head, '\n');
	buf_add_span(out, span_first(head, end == SIZE_MAX ? 0 : end + 1));
}

static const char *original_type(bool full, bool utf8)
{
	if (utf8)
		return full ? "message/global" : "message/global-headers";
	return full ? "message/rfc822" : "text/rfc822-headers";
}

static void put_original(struct buf *out, const struct q_entry *e, struct ident boundary)
{
	struct spool_reader *r = spool_reader_new(e->queue->spool, &e->body);
	struct mail_source src = spool_reader_source(r);
	bool full = is_full(e);
	buf_printf(out, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
	    boundary.s, original_type(full, e->smtputf8));
	if (full)
		put_full(out, &src);
	else
		put_header(out, &src);
	buf_printf(out, "\r\n--%s--\r\n", boundary.s);
	spool_reader_free(&r);
}

bool report_put(struct buf *out, const struct q_entry *e, struct ident id, const char *to)
{
	struct ident boundary = ident_new(); /* the id can be foretold */
	put_heading(out, e, id, to);
	put_type(out, e, boundary);
	put_words(out, e, boundary);
	put_status(out, e, boundary);
	put_original(out, e, boundary);
	return buf_ok(out);
}
