/* front_smtp.c - what a submission client sees before its login (step 3 of 5; before: admit.c; after:
 * authenticate.c). RFC 5321, 3207, 4954, 6409. Owns: struct smtp_front.
 *
 * No mail is taken here: everything that belongs to one is refused until a relay has the session. */
#include "base/mem.h"
#include "proto/smtp_cmd.h"
#include "proto/smtp_path.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/sasl_turn.h"
#include "mmp/session.h"

enum { ANSWER_MAX = 16384 };

struct smtp_front {
	struct line_scan scan;
	struct buf helo; /* what the client called itself; empty: not yet, or not since TLS came */
	bool esmtp;      /* by EHLO */
};

typedef enum verdict cmd_fn(struct session *s, const struct smtp_cmd *cmd);

/* ---- answers ---------------------------------------------------------------------------------- */

static struct smtp_front *front_data(const struct session *s)
{
	return s->front_data;
}

static void put_reply(struct session *s, unsigned code, const char *enhanced, struct span text)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	if (smtp_reply_put(&out, code, enhanced, text))
		stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
}

static enum verdict say(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	put_reply(s, code, enhanced, span_str(text));
	return V_READ;
}

static enum verdict say_error(
    struct session *s, unsigned code, const char *enhanced, const char *text)
{
	say(s, code, enhanced, text);
	return front_error(s);
}

static enum verdict complain(struct session *s, const char *text)
{
	return say_error(s, 501, "5.5.2", text);
}

static void say_with_id(struct session *s, unsigned code, const char *enhanced, enum told told)
{
	struct buf text = BUF_INIT(ANSWER_MAX);
	buf_printf(&text, "%s (id %s)", front_words(told), s->id.s);
	put_reply(s, code, enhanced, buf_span(&text));
	buf_end(&text);
}

static void refuse(struct session *s, enum told told)
{
	static const struct {
		unsigned code;
		const char *enhanced;
	} rows[TOLD_COUNT] = {
		[TOLD_CREDENTIALS] = { 535, "5.7.8" },
		[TOLD_CONTACT] = { 525, "5.7.13" },
		[TOLD_PRIVACY] = { 538, "5.7.11" },
	};
	bool final = rows[told].code != 0;
	say_with_id(s, final ? rows[told].code : 454, final ? rows[told].enhanced : "4.7.0", told);
}

static void challenge(struct session *s, struct span prompt)
{
	stream_printf(s->client, "334 %.*s\r\n", SPAN_ARG(prompt));
}

/* ---- commands --------------------------------------------------------------------------------- */

static enum verdict cmd_unknown(struct session *s, const struct smtp_cmd *cmd)
{
	return say_error(s, 500, "5.5.1", "Unknown command");
}

static enum verdict cmd_later(struct session *s, const struct smtp_cmd *cmd)
{
	return say_error(s, 530, "5.7.0", "Authentication required");
}

/* The relay is told this name, and its log. */
static bool take_helo(struct session *s, const struct smtp_cmd *cmd, bool esmtp)
{
	struct smtp_front *f = front_data(s);
	if (!smtp_helo_ok(cmd->argument))
		return false;
	buf_clear(&f->helo);
	f->esmtp = esmtp;
	return buf_add_span(&f->helo, cmd->argument);
}

static enum verdict cmd_helo(struct session *s, const struct smtp_cmd *cmd)
{
	if (!take_helo(s, cmd, false))
		return say_error(s, 501, "5.5.4", "That is not a host name");
	return say(s, 250, NULL, s->setup->hostname);
}

static enum verdict cmd_ehlo(struct session *s, const struct smtp_cmd *cmd)
{
	if (!take_helo(s, cmd, true))
		return say_error(s, 501, "5.5.4", "That is not a host name");
	struct buf text = BUF_INIT(ANSWER_MAX), mechs = BUF_INIT(ANSWER_MAX);
	buf_add_str(&text, s->setup->hostname);
	front_put_capability(s, &text, "\n", "");
	if (front_offers_tls(s))
		buf_add_str(&text, "\nSTARTTLS");
	sasl_turn_put_mechs(s, &mechs, " ", "");
	if (buf_len(&mechs) > 0)
		buf_printf(&text, "\nAUTH%s", buf_cstr(&mechs));
	put_reply(s, 250, NULL, buf_span(&text));
	buf_end(&text);
	buf_end(&mechs);
	return V_READ;
}

static enum verdict cmd_ok(struct session *s, const struct smtp_cmd *cmd)
{
	return say(s, 250, "2.0.0", "Done");
}

static enum verdict cmd_quit(struct session *s, const struct smtp_cmd *cmd)
{
	say(s, 221, "2.0.0", front_words(TOLD_NOTHING));
	return session_close(s, WHY_LOGOUT, NULL);
}

static enum verdict cmd_starttls(struct session *s, const struct smtp_cmd *cmd)
{
	if (!front_offers_tls(s))
		return say_error(s, 502, "5.5.1", "TLS cannot be started here");
	return front_start_tls(s, SPAN("220 2.0.0 Begin TLS\r\n"));
}

static enum verdict cmd_auth(struct session *s, const struct smtp_cmd *cmd)
{
	if (!front_data(s)->esmtp)
		return say_error(s, 503, "5.5.1", "EHLO first");
	if (!front_takes_secrets(s))
		return authenticate_deny(s, SPAN_NONE, WHY_PLAINTEXT);
	if (!sasl_turn_begin(s, cmd->argument))
		return say_error(s, 504, "5.5.4", "Mechanism not offered");
	return front_begin_sasl(s, cmd->has_initial, cmd->initial);
}

/* What has no row belongs to mail, or to hosts of our own: it needs a login. */
static cmd_fn *const commands[SMTP_VERB_COUNT] = {
	[SMTP_VERB_UNKNOWN] = cmd_unknown,
	[SMTP_VERB_LHLO] = cmd_unknown,
	[SMTP_VERB_HTTP] = cmd_unknown,
	[SMTP_VERB_EHLO] = cmd_ehlo,
	[SMTP_VERB_HELO] = cmd_helo,
	[SMTP_VERB_NOOP] = cmd_ok,
	[SMTP_VERB_RSET] = cmd_ok,
	[SMTP_VERB_QUIT] = cmd_quit,
	[SMTP_VERB_STARTTLS] = cmd_starttls,
	[SMTP_VERB_AUTH] = cmd_auth,
};

/* ---- framing ---------------------------------------------------------------------------------- */

static enum verdict run_line(struct session *s, struct span line)
{
	if (sasl_exchange_active(&s->sasl))
		return front_take_sasl(s, line);
	struct smtp_cmd cmd;
	err_t err = smtp_cmd_parse(line, &cmd);
	if (line.n > SMTP_LINE_MAX && cmd.verb != SMTP_VERB_AUTH)
		return say_error(s, 500, "5.5.2", line_rx_why(LINE_TOO_LONG));
	cmd_fn *fn = commands[cmd.verb] != NULL ? commands[cmd.verb] : cmd_later;
	if (err != ERR_OK && fn != cmd_later)
		return say_error(s, 501, "5.5.4", cmd.why);
	return fn(s, &cmd);
}

/* An exchange that was going on is over: the client will not take the error for a prompt. */
static enum verdict on_bad_line(struct session *s, enum line_rx rx)
{
	sasl_exchange_end(&s->sasl);
	enum verdict v = say_error(s, 500, "5.5.2", line_rx_why(rx));
	return rx == LINE_BAD && v == V_READ ? front_lost(s, line_rx_why(rx)) : v;
}

static enum verdict on_input(struct session *s)
{
	struct smtp_front *f = front_data(s);
	struct span line = SPAN_NONE;
	size_t eat;
	enum line_rx rx = line_take(&f->scan, stream_input(s->client), &line, &eat);
	struct buf copy = BUF_INIT(SMTP_AUTH_LINE_MAX);
	buf_add_span(&copy, line);
	stream_eat(s->client, eat);
	enum verdict v = V_MORE;
	if (rx == LINE_READY)
		v = run_line(s, buf_span(&copy));
	else if (rx != LINE_MORE)
		v = on_bad_line(s, rx);
	buf_wipe_end(&copy);
	return v;
}

/* ---- the table's functions -------------------------------------------------------------------- */

static void *front_open(struct session *s)
{
	struct smtp_front *f = MEM_NEW(struct smtp_front);
	f->scan = LINE_SCAN_INIT(SMTP_AUTH_LINE_MAX);
	f->helo = BUF_INIT(SMTP_DOMAIN_MAX);
	return f;
}

static void front_close(void **data)
{
	struct smtp_front *f = *data;
	buf_end(&f->helo);
	MEM_FREE(data);
}

static void greet(struct session *s)
{
	struct buf text = BUF_INIT(ANSWER_MAX);
	buf_printf(&text, "%s ESMTP " MULTIPLEXOR_READY, s->setup->hostname);
	put_reply(s, 220, NULL, buf_span(&text));
	buf_end(&text);
}

/* Nothing that was said before TLS counts behind it (RFC 3207 section 4.2). */
static void secured(struct session *s)
{
	buf_clear(&front_data(s)->helo);
	front_data(s)->esmtp = false;
}

static void welcome(struct session *s, const struct back_done *done)
{
	say(s, 235, "2.7.0", "Authentication succeeded");
}

/* 421 may come at any time (RFC 5321 section 3.8). */
static void bye(struct session *s, enum told told)
{
	if (told == TOLD_FOREIGN)
		say_with_id(s, 554, "5.5.1", told);
	else
		say_with_id(s, 421, "4.7.0", told);
}

static struct span client_name(const struct session *s)
{
	return buf_span(&front_data(s)->helo);
}

const struct front front_smtp = {
	.name = "submission",
	.name_tls = "submissions",
	.name_short = "smtp",
	.name_short_tls = "smtps",
	.alpn = "smtp",
	.last_words = "421 4.3.2 Ended by the administrator, connect again\r\n",
	.goodbye = "421 ",
	.parting = "QUIT\r\n",
	.back = &back_smtp,
	.limits = { .in_max = 2 * SMTP_AUTH_LINE_MAX, .out_max = 65536 },
	.open = front_open,
	.close = front_close,
	.greet = greet,
	.secured = secured,
	.on_input = on_input,
	.challenge = challenge,
	.complain = complain,
	.refuse = refuse,
	.welcome = welcome,
	.bye = bye,
	.client_name = client_name,
};
