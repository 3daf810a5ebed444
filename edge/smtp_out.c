/* smtp_out.c - the outgoing conversation, for commit (step 5 of 6) and deliver (step 6 of 6).
 *
 * Owns its stream, the half-read reply and the deadline of the state it is in. The mail is the
 * caller's. MAIL, RCPT and DATA leave in one go where the server allows it. What the replies mean
 * stands in smtp_out_talk.c. */
#include "edge/smtp_out.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "edge/outcome.h"
#include "edge/smtp_out_internal.h"
#include "edge/tls_policy.h"
#include "net/dial.h"

static const struct {
	const char *name;
	enum out_clock clock;
	out_reply_fn *on_reply; /* NULL: the server has no say here */
} states[ST_COUNT] = {
	[ST_NEW] = { "new", CLOCK_NONE, NULL },
	[ST_DIAL] = { "connecting", CLOCK_NONE, NULL }, /* dial has its own deadline */
	[ST_GREETING] = { "waiting for the greeting", CLOCK_REPLY, out_on_greeting },
	[ST_EHLO] = { "waiting for the reply to EHLO", CLOCK_REPLY, out_on_ehlo },
	[ST_HELO] = { "waiting for the reply to HELO", CLOCK_REPLY, out_on_helo },
	[ST_STARTTLS] = { "waiting for the reply to STARTTLS", CLOCK_REPLY, out_on_starttls },
	[ST_TLS] = { "in the TLS handshake", CLOCK_CONNECT, NULL },
	[ST_IDLE] = { "idle", CLOCK_IDLE, out_on_early },
	[ST_ENVELOPE] = { "sending the envelope", CLOCK_REPLY, out_on_envelope },
	[ST_BODY] = { "sending the message", CLOCK_REPLY, out_on_body },
	[ST_FINAL] = { "waiting for the reply to the message", CLOCK_FINAL, out_on_final },
	[ST_DEAD] = { "ended", CLOCK_NONE, NULL },
};

static void start_dial(struct smtp_out *o);

/* to == o->state restarts the clock. */
void out_set_state(struct smtp_out *o, enum out_state to)
{
	const uint64_t clocks[] = {
		[CLOCK_NONE] = 0,
		[CLOCK_CONNECT] = o->opts.connect_ms,
		[CLOCK_REPLY] = o->opts.reply_ms,
		[CLOCK_FINAL] = o->opts.final_ms,
		[CLOCK_IDLE] = o->opts.idle_ms,
	};
	ticket_cancel(&o->dialing);
	o->state = to;
	if (states[to].clock == CLOCK_NONE)
		timer_clear(&o->deadline);
	else
		timer_set(&o->deadline, clocks[states[to].clock]);
}

enum out_verdict out_fail(struct smtp_out *o, const char *why)
{
	struct buf text = BUF_INIT(OUT_WHY_SIZE - 1);
	fmt_line_text(&text, span_str(why), OUT_WHY_SIZE - 1);
	memcpy(o->why, buf_cstr(&text), buf_len(&text) + 1);
	buf_end(&text);
	return V_FAIL;
}

enum out_verdict out_fail_reply(struct smtp_out *o, const char *what, const struct smtp_reply *r)
{
	struct buf text = BUF_INIT(OUT_WHY_SIZE - 1);
	buf_printf(&text, "%s: %u ", what, r->code);
	fmt_line_text(&text, r->text, OUT_WHY_SIZE - 40);
	out_fail(o, buf_cstr(&text));
	buf_end(&text);
	return V_FAIL;
}

static void drop_stream(struct smtp_out *o)
{
	if (o->io != NULL)
		stream_free(&o->io);
	smtp_reply_reader_reset(&o->reader);
}

/* ---- how a mail ends ------------------------------------------------------------------------------ */

/* Last statement of whoever calls it: fn may free o. */
static void answer(struct smtp_out *o, enum out_end end)
{
	char why[OUT_WHY_SIZE]; /* fn may free o and read on */
	struct out_session sessions[OUT_ADDRESSES_MAX];
	memcpy(why, o->why, sizeof(why));
	memcpy(sessions, o->sessions, sizeof(sessions));
	struct out_result r = { .end = end, .peer = o->peer, .why = why, .sessions = sessions };
	r.session_n = o->session_n;
	r.tls = out_last_fate(o);
	r.talk_ms = o->envelope_ms != 0 ? loop_now_ms(o->opts.loop) - o->envelope_ms : 0;
	o->session_n = 0;
	r.dsn = (o->features & SMTP_HAS_DSN) != 0;
	r.unfit = o->unfit;
	r.absent = o->absent;
	r.sender_refused = o->mail_refused;
	out_done_fn *fn = o->done;
	MEM_FREE(&o->send);
	MEM_FREE(&o->order);
	o->mail = NULL;
	o->kept = true;
	fn(o->done_arg, &r);
}

static void say_goodbye(struct smtp_out *o)
{
	out_set_state(o, ST_DEAD);
	stream_write_span(o->io, SPAN("QUIT\r\n"));
	stream_close(&o->io, LINGER_MS);
}

static void end_good(struct smtp_out *o, bool keep)
{
	if (keep && o->opts.idle_ms > 0) {
		out_set_state(o, ST_IDLE);
	} else {
		say_goodbye(o);
	}
	answer(o, OUT_ANSWERED);
}

/* Nothing of the mail was said: another address of the host may do better (RFC 5321 section 5.1). */
static bool has_next_address(const struct smtp_out *o)
{
	return o->opts.kind == OUT_SMTP && o->mail != NULL && !o->kept && o->more &&
	       o->state >= ST_GREETING && o->state <= ST_TLS && o->tried < OUT_ADDRESSES_MAX;
}

static void try_next_address(struct smtp_out *o)
{
	drop_stream(o);
	o->skip = o->tried;
	o->opts.tls = o->tls_wanted;
	o->tls_counted = false;
	start_dial(o);
}

/* The conversation cannot go on. Recipients that have no answer yet are told later. */
static void end_bad(struct smtp_out *o)
{
	enum out_state was = o->state;
	if (was == ST_STARTTLS || was == ST_TLS)
		out_note_session(o, OUT_TLS_BROKEN); /* but for what is known better */
	if (has_next_address(o)) {
		try_next_address(o);
		return;
	}
	out_set_state(o, ST_DEAD);
	drop_stream(o);
	if (o->mail == NULL) {
		o->gone(o->gone_arg, o);
		return;
	}
	enum out_end end = was < ST_ENVELOPE ? OUT_UNREACHED : OUT_BROKEN;
	if (o->kept && o->replies == 0 && was <= ST_ENVELOPE)
		end = OUT_STALE;
	bool tls_missed = out_last_fate(o) > OUT_TLS_GOOD && out_tls_is_must(o->opts.tls);
	const char *status = tls_missed ? "4.7.5" : was <= ST_TLS ? "4.4.1" : "4.4.2";
	struct buf text = BUF_INIT(REPLY_TEXT_SIZE - 1);
	buf_printf(&text, "%.100s: %.150s while %s", o->opts.host, o->why, states[was].name);
	for (size_t i = 0; i < o->mail->recipient_count; i++) {
		struct outcome *out = o->mail->recipients[i].outcome;
		if (out->fate == FATE_OPEN)
			outcome_set(out, FATE_LATER, 451, status, buf_span(&text));
	}
	buf_end(&text);
	answer(o, end);
}

/* ---- driver --------------------------------------------------------------------------------------- */

/* Carries out a verdict; true: read on. May free o when it answers false. */
static bool carry_out(struct smtp_out *o, enum out_verdict v)
{
	switch (v) {
	case V_READ:
		return true;
	case V_WAIT:
		return false;
	case V_DONE:
	case V_CLOSE:
		end_good(o, v == V_DONE);
		return false;
	case V_FAIL:
		break;
	}
	end_bad(o);
	return false;
}

/* The only driver; may free o. */
static void step(struct smtp_out *o, enum out_verdict v)
{
	struct smtp_reply reply;
	size_t eat;
	while (carry_out(o, v)) {
		if (states[o->state].on_reply == NULL)
			return;
		enum smtp_reply_rx rx =
		    smtp_reply_take(&o->reader, stream_input(o->io), &reply, &eat);
		stream_eat(o->io, eat);
		if (rx == SMTP_REPLY_READY)
			v = states[o->state].on_reply(o, &reply);
		else if (rx == SMTP_REPLY_BAD)
			v = out_fail(o, o->reader.why);
		else if (stream_at_eof(o->io))
			v = out_fail(o, "connection closed");
		else
			return;
	}
}

/* What the handshake, which went well or not, has shown of the certificate. */
static enum out_tls_fate fate_of(const struct smtp_out *o, bool failed)
{
	static const enum out_tls_fate fates[] = {
		[STREAM_CERT_GOOD] = OUT_TLS_GOOD,
		[STREAM_CERT_NONE] = OUT_TLS_FAILED,
		[STREAM_CERT_NAME] = OUT_TLS_WRONG_NAME,
		[STREAM_CERT_EXPIRED] = OUT_TLS_EXPIRED,
		[STREAM_CERT_UNTRUSTED] = OUT_TLS_UNTRUSTED,
		[STREAM_CERT_DANE] = OUT_TLS_FAILED,
	};
	if (!failed && o->opts.tls != OUT_TLS_STS_TEST)
		return OUT_TLS_GOOD; /* what was asked for */
	enum out_tls_fate fate = fates[stream_certificate(o->io)];
	return failed && fate == OUT_TLS_GOOD ? OUT_TLS_FAILED : fate;
}

/* Opportunistic TLS that fails, or never comes to its end, is plaintext on a new connection, not a lost next hop. */
static void on_no_tls(struct smtp_out *o, enum out_tls_fate fate, const char *why)
{
	out_count_tls(o, fate);
	if (out_tls_is_must(o->opts.tls)) {
		step(o, out_fail(o, why));
		return;
	}
	o->opts.tls = OUT_TLS_NONE;
	drop_stream(o);
	start_dial(o);
}

static void on_stream_failed(struct smtp_out *o)
{
	if (o->state == ST_TLS)
		on_no_tls(o, fate_of(o, true), stream_err_text(o->io));
	else
		step(o, out_fail(o, stream_err_text(o->io)));
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct smtp_out *o = OBJ(smtp_out, arg);
	switch (ev) {
	case STREAM_FAILED:
		on_stream_failed(o);
		return;
	case STREAM_SECURED:
		smtp_reply_reader_reset(&o->reader);
		out_count_tls(o, fate_of(o, false));
		step(o, out_send_ehlo(o));
		return;
	case STREAM_EOF:
		if (o->state == ST_TLS)
			on_no_tls(o, OUT_TLS_BROKEN, "connection closed");
		else
			step(o, V_READ);
		return;
	case STREAM_INPUT:
		if (o->state != ST_TLS)
			step(o, V_READ);
		return;
	case STREAM_SENT:
		break;
	}
	if (o->state == ST_ENVELOPE)
		out_pump_envelope(o);
	else if (o->state == ST_BODY)
		step(o, out_pump_body(o));
}

static void on_deadline(void *arg)
{
	struct smtp_out *o = OBJ(smtp_out, arg);
	if (o->state == ST_TLS) {
		on_no_tls(o, OUT_TLS_BROKEN, "timeout");
		return;
	}
	if (o->state != ST_IDLE) {
		step(o, out_fail(o, "timeout"));
		return;
	}
	if (o->mail != NULL)
		return; /* given to us a moment ago: on_begin() goes on with it */
	say_goodbye(o);
	o->gone(o->gone_arg, o);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct smtp_out *o = OBJ(smtp_out, arg);
	o->dialing = NULL;
	o->peer = r->addr;
	if (r->err) {
		o->absent = r->err == ERR_DNS_ABSENT && o->tried == 0;
		step(o, out_fail(o, r->text != NULL ? r->text : err_text(r->err)));
		return;
	}
	o->io = r->stream;
	o->tried = r->tried;
	o->more = r->more;
	o->local = stream_local(o->io).addr;
	stream_set_owner(
	    o->io, (struct stream_limits){ .in_max = IN_MAX, .out_max = OUT_MAX }, on_stream, o);
	out_set_state(o, ST_GREETING);
	step(o, V_READ);
}

static void start_dial(struct smtp_out *o)
{
	struct dial_target target = {
		.host = span_str(o->host),
		.port = o->opts.port,
		.foreign = o->opts.foreign,
		.skip = o->skip,
		.deadline_ms = o->opts.connect_ms,
		.limits = { .in_max = IN_MAX, .out_max = OUT_MAX },
	};
	out_set_state(o, ST_DIAL);
	o->dialing = dial_start(o->opts.loop, o->opts.dns, &target, on_dialled, o);
}

static void on_begin(void *arg)
{
	struct smtp_out *o = OBJ(smtp_out, arg);
	if (o->state == ST_NEW)
		start_dial(o);
	else if (o->state == ST_IDLE)
		step(o, out_start_envelope(o));
}

/* ---- public --------------------------------------------------------------------------------------- */

struct smtp_out *smtp_out_new(
    const struct out_opts *opts, void (*gone)(void *arg, struct smtp_out *o), void *arg)
{
	struct smtp_out *o = MEM_NEW(struct smtp_out);
	o->magic = smtp_out_MAGIC;
	o->opts = *opts;
	o->tls_wanted = opts->tls;
	o->opts.host = o->host = mem_str(opts->host);
	o->opts.helo = o->helo = mem_str(opts->helo);
	if (opts->dane != NULL)
		o->dane = out_dane_copy(opts->dane);
	o->opts.dane = &o->dane;
	o->tls = opts->tls_ctx != NULL ? tls_ctx_ref(opts->tls_ctx) : NULL;
	o->gone = gone;
	o->gone_arg = arg;
	timer_init(&o->deadline, opts->loop, on_deadline, o);
	soon_init(&o->begin, on_begin, o);
	smtp_reply_reader_init(&o->reader);
	return o;
}

void smtp_out_free(struct smtp_out **po)
{
	struct smtp_out *o = *po;
	if (o == NULL)
		return;
	soon_clear(&o->begin);
	out_set_state(o, ST_DEAD);
	drop_stream(o);
	smtp_reply_reader_end(&o->reader);
	if (o->tls != NULL)
		tls_ctx_unref(&o->tls);
	MEM_FREE(&o->send);
	MEM_FREE(&o->order);
	MEM_FREE(&o->host);
	MEM_FREE(&o->helo);
	out_dane_end(&o->dane);
	o->magic = 0;
	MEM_FREE(po);
}

static void cancel(struct ticket *t)
{
	struct smtp_out *o = ((struct send *)t)->out;
	soon_clear(&o->begin);
	out_set_state(o, ST_DEAD);
	drop_stream(o);
	o->mail = NULL;
	MEM_FREE(&o->order);
	MEM_FREE(&o->send);
}

struct ticket *smtp_out_send(struct smtp_out *o, struct out_mail *mail, out_done_fn *fn, void *arg)
{
	CHECK(smtp_out_ready(o) && mail->recipient_count > 0);
	o->mail = mail;
	o->done = fn;
	o->done_arg = arg;
	o->replies = 0;
	o->envelope_ms = 0;
	o->mail_refused = false;
	o->why[0] = '\0';
	for (size_t i = 0; i < mail->recipient_count; i++)
		mail->recipients[i].outcome->fate = FATE_OPEN;
	o->send = MEM_NEW(struct send);
	o->send->ticket.cancel = cancel;
	o->send->out = o;
	soon_set(o->opts.loop, &o->begin);
	return &o->send->ticket;
}

bool smtp_out_ready(const struct smtp_out *o)
{
	return o->mail == NULL && (o->state == ST_NEW || o->state == ST_IDLE);
}

bool smtp_out_in_doubt(const struct smtp_out *o)
{
	return o->state == ST_FINAL && (o->features & SMTP_HAS_XDELIVERYID) == 0;
}
