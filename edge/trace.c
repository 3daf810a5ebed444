/* trace.c - the header lines that reception adds (part of step 4, content.c). */
#include "edge/trace.h"

#include "base/clock.h"
#include "proto/header.h"

#include "edge/mail.h"
#include "edge/screen.h"

void trace_put_addr(struct ip_addr a, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	buf_printf(out, "%s%s", ip_is_v4(a) ? "" : "IPv6:", ip_text(a, text));
}

/* RFC 3848 */
static const char *protocol(const struct session *s)
{
	static const char *const utf8[2][2] = { { "UTF8SMTP", "UTF8SMTPA" },
		{ "UTF8SMTPS", "UTF8SMTPSA" } };
	static const char *const names[2][2] = { { "ESMTP", "ESMTPA" }, { "ESMTPS", "ESMTPSA" } };
	if (s->mail->utf8) /* RFC 6531 section 4.3 */
		return utf8[stream_is_tls(s->io)][s->user != NULL];
	return s->esmtp ? names[stream_is_tls(s->io)][s->user != NULL] : "SMTP";
}

/* What RFC 5321 section 4.4 says that it SHOULD tell of the client. Where users are to be hidden, HELO goes too: that is an
 * address or a machine's name most often; the clause itself has to stay, and this host answers for the user. */
static void put_source(const struct session *s, struct buf *out)
{
	const char *name = screen_name(s);
	if (s->user != NULL && s->setup->edge->hide_submitters) {
		buf_printf(out, "Received: from %s\r\n", s->setup->hostname);
		return;
	}
	buf_printf(out, "Received: from %s (%s%s[", s->helo, name != NULL ? name : "",
	    name != NULL ? " " : "");
	trace_put_addr(s->from.addr, out);
	buf_add_str(out, "])\r\n");
}

bool trace_put_received(const struct session *s, struct buf *out)
{
	const struct transaction *t = s->mail->t;
	struct stream_tls tls;
	char date[CLOCK_RFC5322_SIZE];
	put_source(s, out);
	if (stream_tls(s->io, &tls))
		buf_printf(out, "\t(using %s with cipher %s (%d bits))\r\n", tls.version,
		    tls.cipher, tls.bits);
	buf_printf(
	    out, "\tby %s (Postern) with %s id %s", s->setup->hostname, protocol(s), t->id.s);
	if (t->recipient_count == 1) /* more would tell each of them of the others */
		buf_printf(out, "\r\n\tfor <%s>", t->recipients[0].address);
	buf_printf(out, ";\r\n\t%s\r\n", clock_rfc5322(clock_wall_us(), date));
	return buf_ok(out);
}

bool trace_put_missing(const struct session *s, struct span message, struct buf *out)
{
	char date[CLOCK_RFC5322_SIZE];
	if (header_count(message, SPAN("Date")) == 0)
		buf_printf(out, "Date: %s\r\n", clock_rfc5322(clock_wall_us(), date));
	if (header_count(message, SPAN("Message-ID")) == 0)
		buf_printf(out, "Message-ID: <%s@%s>\r\n", s->mail->t->id.s, s->setup->hostname);
	return buf_ok(out);
}

bool trace_sees_header(struct span start, uint64_t size)
{
	struct header_walk w;
	struct header_field f;
	enum header_rx rx;
	size_t before;
	header_walk_init(&w, start);
	do {
		before = w.at;
		rx = header_next(&w, &f);
	} while (rx == HEADER_FIELD && w.at < start.n);
	if (start.n == size)
		return rx != HEADER_TOO_MANY;
	/* an empty line, or a whole line that is no field; half a line may become one */
	return rx == HEADER_END &&
	       (w.at > before || span_find(span_from(start, w.at), '\n') != SIZE_MAX);
}

size_t trace_hops(struct span message)
{
	return header_count(message, SPAN("Received"));
}

bool trace_has_header(struct span message)
{
	struct header_walk w;
	struct header_field first;
	header_walk_init(&w, message);
	return header_next(&w, &first) == HEADER_FIELD || span_starts(message, SPAN("\r\n"));
}

/* ---- fields in our name ------------------------------------------------------------- */

/* Skips white space and comments (RFC 5322 section 3.2.2). */
static struct span skip_comments(struct span v)
{
	size_t depth = 0, i = 0;
	for (; i < v.n; i++) {
		if (v.p[i] == '(')
			depth++;
		else if (v.p[i] == ')' && depth > 0)
			depth--;
		else if (v.p[i] == '\\' && depth > 0)
			i++;
		else if (depth == 0 && strchr(" \t\r\n", v.p[i]) == NULL)
			break;
	}
	return span_from(v, i < v.n ? i : v.n);
}

/* What stands in quotes at the beginning of id, without quoted pairs (RFC 5322 section 3.2.4). */
static void put_quoted(struct span id, struct buf *out)
{
	for (size_t i = 1; i < id.n && id.p[i] != '"'; i++) {
		if (id.p[i] == '\\' && i + 1 < id.n)
			i++;
		if (id.p[i] != '\r' && id.p[i] != '\n') /* of a fold */
			buf_add_char(out, id.p[i]);
	}
}

/* Does the field say that it comes from this host? Quotes are no way around it. */
static bool is_results_of(const struct header_field *f, const char *hostname)
{
	if (!span_ieq(f->name, SPAN("Authentication-Results")))
		return false;
	struct span id = skip_comments(f->value), name = span_str(hostname);
	if (id.n > 0 && id.p[0] == '"') {
		struct buf inner = BUF_INIT(id.n);
		put_quoted(id, &inner);
		bool same = span_ieq(span_trim(buf_span(&inner)), name);
		buf_end(&inner);
		return same;
	}
	if (!span_istarts(id, name))
		return false;
	id = span_from(id, name.n);
	return id.n == 0 || strchr(" \t\r\n(;/", id.p[0]) != NULL;
}

static bool is_forged(const struct header_field *f, const struct trace_forged *what)
{
	return (what->hostname != NULL && is_results_of(f, what->hostname)) ||
	       (what->marks && span_istarts(f->name, SPAN("X-Postern-")));
}

bool trace_strip_forged(
    struct span start, const struct trace_forged *what, struct buf *kept, size_t *bytes_out)
{
	struct header_walk w;
	struct header_field f;
	bool any = false;
	*bytes_out = 0;
	header_walk_init(&w, start);
	while (header_next(&w, &f) == HEADER_FIELD) {
		bool forged = is_forged(&f, what);
		any = any || forged;
		if (!forged)
			buf_add_span(kept, f.raw);
		*bytes_out = w.at;
	}
	return any && buf_ok(kept);
}
