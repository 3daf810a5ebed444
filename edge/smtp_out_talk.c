/* smtp_out_talk.c - what each reply of the server means, and what is said next.
 *
 * Handlers return a verdict and never end the conversation themselves; smtp_out.c does. */
#include "edge/smtp_out_internal.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "edge/outcome.h"
#include "edge/queue_tables.h"
#include "edge/tls_policy.h"
#include "proto/header.h"
#include "proto/smtp_path.h"

static void set_all_open(struct smtp_out *o, const struct smtp_reply *r)
{
	for (size_t i = 0; i < o->mail->recipient_count; i++)
		if (o->mail->recipients[i].outcome->fate == FATE_OPEN)
			outcome_from_reply(o->mail->recipients[i].outcome, r);
}

/* A 2xx where only 3xx, 4xx or 5xx make sense is no success. */
static bool is_refusal(const struct smtp_reply *r)
{
	return r->code >= 400;
}

static size_t count_open(const struct smtp_out *o)
{
	size_t n = 0;
	for (size_t i = 0; i < o->mail->recipient_count; i++)
		n += o->mail->recipients[i].outcome->fate == FATE_OPEN;
	return n;
}

/* ---- the message ---------------------------------------------------------------------------------- */

/* One piece of the body into the stream; false: it cannot be read. */
static bool put_piece(struct smtp_out *o, struct buf *encoded)
{
	const struct mail_source *src = &o->mail->body;
	out_set_state(o, ST_BODY); /* the clock runs for each piece */
	uint64_t left = src->size - o->body_at;
	err_t err = ERR_OK;
	struct span piece =
	    src->read(src->arg, o->body_at, left < CHUNK ? (size_t)left : CHUNK, &err);
	if (err || piece.n == 0)
		return false;
	size_t used = smtp_body_encode(&o->encoder, piece, encoded);
	o->body_at += used;
	return stream_write_span(o->io, buf_span(encoded));
}

/* As much as the stream takes. A message that cannot be read must not be ended with a dot. */
enum out_verdict out_pump_body(struct smtp_out *o)
{
	struct buf encoded = BUF_INIT(ENCODED_MAX);
	bool ok = true;
	while (ok && o->body_at < o->mail->body.size && stream_space(o->io) >= ENCODED_MAX) {
		buf_clear(&encoded);
		ok = put_piece(o, &encoded);
	}
	if (ok && o->body_at == o->mail->body.size && stream_space(o->io) > 16) {
		buf_clear(&encoded);
		smtp_body_encode_end(&o->encoder, &encoded);
		ok = stream_write_span(o->io, buf_span(&encoded));
		o->final_at = 0;
		out_set_state(o, ST_FINAL);
	}
	buf_end(&encoded);
	return ok ? V_READ : out_fail(o, "the message cannot be read");
}

static enum out_verdict start_body(struct smtp_out *o)
{
	o->body_at = 0;
	o->encoder = (struct smtp_body_encoder){ 0 };
	out_set_state(o, ST_BODY);
	return out_pump_body(o);
}

/* A reply before the message is complete: the server gives up. Its words are kept, its class is not
 * believed, since it has not seen the message. */
enum out_verdict out_on_body(struct smtp_out *o, const struct smtp_reply *r)
{
	struct smtp_reply later = *r;
	later.code = 451;
	later.enhanced[0] = '\0';
	set_all_open(o, &later);
	return out_fail(o, "replied before the message was complete");
}

enum out_verdict out_on_final(struct smtp_out *o, const struct smtp_reply *r)
{
	if (o->opts.kind == OUT_SMTP) {
		set_all_open(o, r);
		return r->code == 421 ? V_CLOSE : V_DONE;
	}
	struct out_mail *m = o->mail;
	while (o->final_at < m->recipient_count &&
	       m->recipients[o->final_at].outcome->fate != FATE_OPEN)
		o->final_at++;
	CHECK(o->final_at < m->recipient_count);
	outcome_from_reply(m->recipients[o->final_at++].outcome, r);
	if (count_open(o) == 0)
		return r->code == 421 ? V_CLOSE : V_DONE;
	out_set_state(o, ST_FINAL);
	return V_READ;
}

/* ---- the envelope --------------------------------------------------------------------------------- */

/* Places in the list of commands: 0 RSET, 1 MAIL, 2.. one RCPT for each recipient that we did not
 * refuse ourselves, then DATA, or RSET where the server is only asked. */
static size_t cmd_data(const struct smtp_out *o)
{
	return 2 + o->order_count;
}

static struct out_recipient *recipient_of(struct smtp_out *o, size_t cmd)
{
	return &o->mail->recipients[o->order[cmd - 2]];
}

static bool has_8bit(const struct out_mail *m)
{
	bool found = !span_is_ascii(span_str(m->sender));
	for (size_t i = 0; i < m->recipient_count && !found; i++)
		found = !span_is_ascii(span_str(m->recipients[i].address));
	return found;
}

enum { HEADER_SEEN_MAX = 64 * 1024 };

/* A message whose sender said SMTPUTF8 may do without it (RFC 6531 section 3.2): then any server will do. Asked
 * only of those that do not offer it. */
static bool header_needs_utf8(const struct mail_source *src)
{
	uint64_t at = 0;
	err_t err = ERR_OK;
	while (at < src->size && at < HEADER_SEEN_MAX) {
		struct span piece = src->read(src->arg, at, CHUNK, &err);
		size_t header = header_size(piece);
		if (err || piece.n == 0)
			return true;
		if (!span_is_ascii(span_first(piece, header)))
			return true;
		if (header < piece.n)
			return false;
		at += piece.n;
	}
	return at < src->size;
}

static bool says_utf8(const struct smtp_out *o)
{
	return (o->features & SMTP_HAS_SMTPUTF8) != 0 && (o->mail->smtputf8 || has_8bit(o->mail));
}

static void put_mail(struct smtp_out *o)
{
	const struct out_mail *m = o->mail;
	stream_printf(o->io, "MAIL FROM:<%s>", m->sender);
	if ((o->features & SMTP_HAS_SIZE) != 0 && (!m->ask_only || m->body.size > 0))
		stream_printf(o->io, " SIZE=%" PRIu64, m->body.size);
	if ((o->features & SMTP_HAS_8BITMIME) != 0 && m->body_8bit)
		stream_printf(o->io, " BODY=8BITMIME");
	if ((o->features & SMTP_HAS_MT_PRIORITY) != 0 && m->priority != 0)
		stream_printf(o->io, " MT-PRIORITY=%d", m->priority);
	if ((o->features & SMTP_HAS_REQUIRETLS) != 0 && m->require_tls)
		stream_printf(o->io, " REQUIRETLS");
	if (says_utf8(o))
		stream_printf(o->io, " SMTPUTF8");
	if ((o->features & SMTP_HAS_XDELIVERYID) != 0 && m->id.s[0] != '\0')
		stream_printf(o->io, " XDELIVERYID=%s", m->id.s);
	if ((o->features & SMTP_HAS_DSN) != 0 && m->ret != SMTP_RET_NONE)
		stream_printf(o->io, " RET=%s", m->ret == SMTP_RET_FULL ? "FULL" : "HDRS");
	if ((o->features & SMTP_HAS_DSN) != 0 && m->envid != NULL)
		stream_printf(o->io, " ENVID=%s", m->envid);
	stream_write_span(o->io, SPAN("\r\n"));
}

static void put_rcpt(struct smtp_out *o, const struct out_recipient *r)
{
	bool dsn = (o->features & SMTP_HAS_DSN) != 0;
	struct buf notify = BUF_INIT(64), orcpt = BUF_INIT(COMMAND_MAX);
	stream_printf(o->io, "RCPT TO:<%s>", r->address);
	if (dsn && smtp_notify_put(&notify, r->notify))
		stream_printf(o->io, " NOTIFY=%s", buf_cstr(&notify));
	if (dsn && r->orcpt != NULL && smtp_orcpt_put(&orcpt, span_str(r->orcpt), says_utf8(o)))
		stream_printf(o->io, " ORCPT=%s", buf_cstr(&orcpt));
	stream_write_span(o->io, SPAN("\r\n"));
	buf_end(&notify);
	buf_end(&orcpt);
}

static void put_command(struct smtp_out *o, size_t cmd)
{
	if (cmd == 0)
		stream_write_span(o->io, SPAN("RSET\r\n"));
	else if (cmd == 1)
		put_mail(o);
	else if (cmd < cmd_data(o))
		put_rcpt(o, recipient_of(o, cmd));
	else
		stream_write_span(o->io, o->mail->ask_only ? SPAN("RSET\r\n") : SPAN("DATA\r\n"));
}

static bool is_hopeless(const struct smtp_out *o)
{
	return o->mail_refused || count_open(o) == 0;
}

/* Sends what may be sent now. Without PIPELINING one command is out at a time. */
void out_pump_envelope(struct smtp_out *o)
{
	bool pipelining = (o->features & SMTP_HAS_PIPELINING) != 0;
	if (is_hopeless(o))
		return;
	while (o->cmd_next <= cmd_data(o) && stream_space(o->io) > COMMAND_MAX &&
	       (pipelining || o->cmd_answered == o->cmd_next))
		put_command(o, o->cmd_next++);
}

static enum out_verdict on_data_reply(struct smtp_out *o, const struct smtp_reply *r)
{
	o->needs_rset = true;
	if (count_open(o) == 0) /* 354 for nobody: the only way out is the door */
		return is_refusal(r) && r->code != 421 ? V_DONE : V_CLOSE;
	if (r->code == 354) {
		o->needs_rset = false;
		return start_body(o);
	}
	if (!is_refusal(r))
		return out_fail(o, "unexpected reply to DATA");
	set_all_open(o, r);
	return r->code == 421 ? V_CLOSE : V_DONE;
}

/* The server was asked and has said all that it had to say. */
static enum out_verdict on_asked(struct smtp_out *o, const struct smtp_reply *r)
{
	o->needs_rset = r->code / 100 != 2;
	return o->needs_rset ? V_CLOSE : V_DONE;
}

/* Stops short of commands that make no sense any more, where they were not sent yet. */
static enum out_verdict after_command(struct smtp_out *o)
{
	if (is_hopeless(o) && o->cmd_answered == o->cmd_next) {
		o->needs_rset = true;
		return V_DONE;
	}
	out_pump_envelope(o);
	out_set_state(o, ST_ENVELOPE);
	return V_READ;
}

enum out_verdict out_on_envelope(struct smtp_out *o, const struct smtp_reply *r)
{
	if (o->cmd_answered == o->cmd_next)
		return out_fail(o, "a reply that nobody asked for");
	if (r->code == 421 && o->kept && o->replies == 0) /* said before it heard us */
		return out_fail_reply(o, "server closes the connection", r);
	size_t cmd = o->cmd_answered++;
	o->replies++;
	if (cmd == cmd_data(o))
		return o->mail->ask_only ? on_asked(o, r) : on_data_reply(o, r);
	if (cmd == 0) {
		o->needs_rset = false;
		if (r->code / 100 != 2)
			return out_fail_reply(o, "RSET", r);
	} else if (cmd == 1 && r->code / 100 != 2) {
		o->mail_refused = true;
		if (!is_refusal(r))
			return out_fail(o, "unexpected reply to MAIL");
		set_all_open(o, r);
	} else if (cmd >= 2 && !o->mail_refused && (r->code / 100 != 2 || o->mail->ask_only)) {
		outcome_from_reply(recipient_of(o, cmd)->outcome, r);
	}
	if (r->code == 421)
		return out_fail_reply(o, "server closes the connection", r);
	return after_command(o);
}

/* ---- before anything is said ---------------------------------------------------------------------- */

/* Can it stand between < and > without ending the path or the line? */
static bool is_safe(const char *address)
{
	struct buf path = BUF_INIT(2 * SMTP_ADDRESS_MAX);
	bool ok = buf_printf(&path, "<%s>", address) && !span_has_control(buf_span(&path)) &&
		  smtp_path_scan(buf_span(&path)) == buf_len(&path);
	buf_end(&path);
	return ok;
}

static void refuse(struct outcome *out, unsigned code, const char *enhanced, const char *why)
{
	if (out->fate == FATE_OPEN)
		outcome_set(out, FATE_REFUSED, code, enhanced, span_str(why));
}

/* RFC 8689 section 4.2.1: a server that does not know the wish would pass the mail on in plaintext. Behind LMTP
 * nothing goes on. A report is not lost because of that (section 5). */
static bool promises_tls(const struct smtp_out *o)
{
	bool keeps = (o->features & SMTP_HAS_REQUIRETLS) != 0 || o->mail->sender[0] == '\0';
	return !o->mail->require_tls || o->opts.kind == OUT_LMTP || (stream_is_tls(o->io) && keeps);
}

/* What the server cannot take by its own announcement, and what must not be sent to any. */
static void refuse_hopeless(struct smtp_out *o)
{
	struct out_mail *m = o->mail;
	bool too_big = o->size_max > 0 && m->body.size > o->size_max;
	bool no_utf8 = (o->features & SMTP_HAS_SMTPUTF8) == 0;
	bool header_utf8 = no_utf8 && m->smtputf8 && !m->ask_only && header_needs_utf8(&m->body);
	bool bad_sender = !is_safe(m->sender) && m->sender[0] != '\0';
	o->unfit = !promises_tls(o);
	for (size_t i = 0; i < m->recipient_count; i++) {
		struct out_recipient *r = &m->recipients[i];
		if (too_big)
			refuse(r->outcome, 552, "5.3.4", "message too big for the next hop");
		if (o->unfit)
			refuse(r->outcome, 550, "5.7.30", "next hop does not offer REQUIRETLS");
		if (header_utf8)
			refuse(r->outcome, 553, "5.6.7", "next hop does not take this header");
		if (bad_sender)
			refuse(r->outcome, 553, "5.1.7", "sender address cannot be sent");
		if (!is_safe(r->address))
			refuse(r->outcome, 553, "5.1.3", "address cannot be sent");
		if (no_utf8 && !span_is_ascii(span_str(r->address)))
			refuse(r->outcome, 553, "5.6.7", "next hop does not take this address");
		if (no_utf8 && !span_is_ascii(span_str(m->sender)))
			refuse(r->outcome, 553, "5.6.7",
			    "next hop does not take the sender's address");
	}
}

enum out_verdict out_start_envelope(struct smtp_out *o)
{
	refuse_hopeless(o);
	if (count_open(o) == 0)
		return V_DONE;
	o->order = mem_array(o->mail->recipient_count, sizeof(*o->order));
	o->order_count = 0;
	for (size_t i = 0; i < o->mail->recipient_count; i++)
		if (o->mail->recipients[i].outcome->fate == FATE_OPEN)
			o->order[o->order_count++] = i;
	o->cmd_next = o->cmd_answered = o->needs_rset ? 0 : 1;
	o->mail_refused = false;
	o->envelope_ms = loop_now_ms(o->opts.loop);
	out_set_state(o, ST_ENVELOPE);
	out_pump_envelope(o);
	return V_READ;
}

/* ---- greeting ------------------------------------------------------------------------------------- */

enum out_verdict out_send_ehlo(struct smtp_out *o)
{
	stream_printf(o->io, "%s %s\r\n", o->opts.kind == OUT_LMTP ? "LHLO" : "EHLO", o->helo);
	out_set_state(o, ST_EHLO);
	return V_READ;
}

enum out_verdict out_on_greeting(struct smtp_out *o, const struct smtp_reply *r)
{
	if (r->code != 220)
		return out_fail_reply(o, "greeting", r);
	return out_send_ehlo(o);
}

enum out_verdict out_on_ehlo(struct smtp_out *o, const struct smtp_reply *r)
{
	struct smtp_ehlo said = { 0 };
	if (r->code / 100 == 5 && o->opts.tls != OUT_TLS_NONE) /* without extensions no STARTTLS */
		out_count_tls(o, OUT_TLS_NOT_OFFERED);
	if (r->code / 100 == 5 && o->opts.kind == OUT_SMTP && !out_tls_is_must(o->opts.tls)) {
		o->features = 0;
		o->size_max = 0;
		stream_printf(o->io, "HELO %s\r\n", o->helo);
		out_set_state(o, ST_HELO);
		return V_READ;
	}
	if (r->code != 250)
		return out_fail_reply(o, "EHLO", r);
	smtp_ehlo_parse(r, &said);
	o->features = said.features;
	o->size_max = said.size_max;
	if (stream_is_tls(o->io) || o->opts.tls == OUT_TLS_NONE)
		return out_start_envelope(o);
	if ((said.features & SMTP_HAS_STARTTLS) != 0 && o->tls != NULL) {
		stream_write_span(o->io, SPAN("STARTTLS\r\n"));
		out_set_state(o, ST_STARTTLS);
		return V_READ;
	}
	out_count_tls(o, OUT_TLS_NOT_OFFERED);
	if (out_tls_is_must(o->opts.tls))
		return out_fail(o, "TLS is required and not to be had");
	return out_start_envelope(o);
}

enum out_verdict out_on_helo(struct smtp_out *o, const struct smtp_reply *r)
{
	return r->code == 250 ? out_start_envelope(o) : out_fail_reply(o, "HELO", r);
}

/* For the certificate, TLS_VERIFY_NAME or what DNSSEC says counts; bytes that came too early. */
static size_t start_tls(struct smtp_out *o)
{
	struct tls_dane_record v[TLS_POLICY_RECORDS_MAX];
	if (o->opts.tls != OUT_TLS_DANE)
		return stream_start_tls_client(o->io, o->tls, o->host, NULL);
	const char *base = o->dane.base != NULL ? o->dane.base : o->host;
	struct tls_dane dane = { .name = base, .others = { o->dane.domain, o->host }, .v = v };
	dane.n = tls_policy_records(o->dane.tlsa, v);
	return stream_start_tls_dane(o->io, o->tls, &dane);
}

bool out_note_session(struct smtp_out *o, enum out_tls_fate fate)
{
	if (o->tls_counted || o->opts.kind == OUT_LMTP)
		return false;
	o->tls_counted = true;
	if (o->opts.tls != OUT_TLS_NONE && o->session_n < OUT_ADDRESSES_MAX)
		o->sessions[o->session_n++] = (struct out_session){ fate, o->local, o->peer.addr };
	return true;
}

enum out_tls_fate out_last_fate(const struct smtp_out *o)
{
	return o->session_n > 0 ? o->sessions[o->session_n - 1].tls : OUT_TLS_UNSEEN;
}

/* How many sessions of which kind, as reports of TLS (RFC 8460) would have it. */
void out_count_tls(struct smtp_out *o, enum out_tls_fate fate)
{
	static const struct {
		enum queue_metric good, bad;
	} kinds[OUT_TLS_KINDS] = {
		[OUT_TLS_NONE] = { QUEUE_M_TLS_NONE, QUEUE_M_TLS_NONE },
		[OUT_TLS_MAY] = { QUEUE_M_TLS_MAY, QUEUE_M_TLS_MAY_FAILED },
		[OUT_TLS_MUST] = { QUEUE_M_TLS_MUST, QUEUE_M_TLS_MUST_FAILED },
		[OUT_TLS_DANE] = { QUEUE_M_TLS_DANE, QUEUE_M_TLS_DANE_FAILED },
		[OUT_TLS_STS] = { QUEUE_M_TLS_STS, QUEUE_M_TLS_STS_FAILED },
		[OUT_TLS_STS_TEST] = { QUEUE_M_TLS_MAY, QUEUE_M_TLS_MAY_FAILED },
	};
	bool under_tls = stream_is_tls(o->io);
	if (!out_note_session(o, fate))
		return;
	bool plain = fate == OUT_TLS_NOT_OFFERED && !out_tls_is_must(o->opts.tls);
	enum out_tls kind = plain ? OUT_TLS_NONE : o->opts.tls;
	metric_add(&queue_metrics[under_tls ? kinds[kind].good : kinds[kind].bad], 1);
}

enum out_verdict out_on_starttls(struct smtp_out *o, const struct smtp_reply *r)
{
	if (r->code != 220) {
		out_count_tls(o, OUT_TLS_NOT_OFFERED);
		return out_tls_is_must(o->opts.tls) ? out_fail_reply(o, "STARTTLS", r)
						    : out_start_envelope(o);
	}
	out_set_state(o, ST_TLS);
	if (start_tls(o) > 0)
		return out_fail(o, "plaintext behind the reply to STARTTLS");
	return V_WAIT;
}

enum out_verdict out_on_early(struct smtp_out *o, const struct smtp_reply *r)
{
	return out_fail_reply(o, "idle connection", r);
}
