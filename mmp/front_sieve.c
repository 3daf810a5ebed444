/* front_sieve.c - what a ManageSieve client sees before its login (step 3 of 5; before: admit.c; after:
 * authenticate.c). RFC 5804. Owns: struct sieve_front. */
#include "base/mem.h"
#include "proto/sieve_cmd.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/sasl_turn.h"
#include "mmp/session.h"

/* A SASL response may come as a quoted string or as a literal; scripts come after the login only. */
enum { LINE_MAX_BYTES = 14336, LITERAL_MAX_BYTES = SASL_TEXT_MAX, COMMAND_MAX_BYTES = 16384 };
enum { ANSWER_MAX = 32768 };

struct sieve_front {
	struct imap_frame frame;
};

typedef enum verdict cmd_fn(struct session *s, const struct sieve_cmd *cmd);

/* ---- answers ---------------------------------------------------------------------------------- */

static struct sieve_front *front_data(struct session *s)
{
	return s->front_data;
}

static void say(struct session *s, const char *status, const char *text)
{
	stream_printf(s->client, "%s \"%s\"\r\n", status, text);
}

static enum verdict complain(struct session *s, const char *text)
{
	say(s, "NO", text);
	return front_error(s);
}

static void put_string(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "\"%s\" ", name);
	imap_put_string(out, value);
	buf_add_str(out, "\r\n");
}

/* An empty SASL list is right where the client must start TLS first (RFC 5804 section 1.7). */
static void put_capabilities(const struct session *s, struct buf *out)
{
	struct buf words = BUF_INIT(ANSWER_MAX);
	put_string(out, "IMPLEMENTATION", SPAN("Postern"));
	front_put_capability(s, &words, " ", "");
	put_string(out, "SIEVE", span_from(buf_span(&words), 1));
	buf_clear(&words);
	sasl_turn_put_mechs(s, &words, " ", "");
	put_string(out, "SASL", span_from(buf_span(&words), 1));
	if (front_offers_tls(s))
		buf_add_str(out, "\"STARTTLS\"\r\n");
	put_string(out, "VERSION", SPAN("1.0"));
	buf_end(&words);
}

static void send_capabilities(struct session *s, const char *behind)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	put_capabilities(s, &out);
	buf_printf(&out, "OK \"%s\"\r\n", behind);
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
}

static const char *code_of(enum told told)
{
	static const char *const codes[TOLD_COUNT] = {
		[TOLD_UNAVAILABLE] = "(TRYLATER) ",
		[TOLD_LATE] = "(TRYLATER) ",
		[TOLD_IN_USE] = "(TRYLATER) ",
		[TOLD_TOO_SOON] = "(TRYLATER) ",
		[TOLD_LIMIT] = "(TRYLATER) ",
		[TOLD_PRIVACY] = "(ENCRYPT-NEEDED) ",
		[TOLD_BUSY] = "(TRYLATER) ",
		[TOLD_SHUTDOWN] = "(TRYLATER) ",
	};
	return codes[told] != NULL ? codes[told] : "";
}

static void refuse(struct session *s, enum told told)
{
	stream_printf(
	    s->client, "NO %s\"%s (id %s)\"\r\n", code_of(told), front_words(told), s->id.s);
}

static void challenge(struct session *s, struct span prompt)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	imap_put_string(&out, prompt);
	buf_add_str(&out, "\r\n");
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
}

/* ---- commands --------------------------------------------------------------------------------- */

static enum verdict cmd_unknown(struct session *s, const struct sieve_cmd *cmd)
{
	return complain(s, "Unknown command");
}

static enum verdict cmd_later(struct session *s, const struct sieve_cmd *cmd)
{
	return complain(s, "Not before login");
}

static enum verdict cmd_capability(struct session *s, const struct sieve_cmd *cmd)
{
	send_capabilities(s, "Done");
	return V_READ;
}

static enum verdict cmd_noop(struct session *s, const struct sieve_cmd *cmd)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	buf_add_str(&out, "OK ");
	if (cmd->has_tag) {
		buf_add_str(&out, "(TAG ");
		imap_put_string(&out, cmd->tag);
		buf_add_str(&out, ") ");
	}
	buf_add_str(&out, "\"Done\"\r\n");
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
	return V_READ;
}

static enum verdict cmd_logout(struct session *s, const struct sieve_cmd *cmd)
{
	say(s, "OK", front_words(TOLD_NOTHING));
	return session_close(s, WHY_LOGOUT, NULL);
}

static enum verdict cmd_starttls(struct session *s, const struct sieve_cmd *cmd)
{
	if (!front_offers_tls(s))
		return complain(s, "TLS cannot be started here");
	return front_start_tls(s, SPAN("OK \"Begin TLS\"\r\n"));
}

static enum verdict cmd_authenticate(struct session *s, const struct sieve_cmd *cmd)
{
	if (!front_takes_secrets(s))
		return authenticate_deny(s, SPAN_NONE, WHY_PLAINTEXT);
	if (!sasl_turn_begin(s, cmd->mechanism)) {
		bool known = sasl_mech_find(cmd->mechanism) != SASL_UNKNOWN;
		say(s, known ? "NO (AUTH-TOO-WEAK)" : "NO", "Mechanism not offered");
		return front_error(s);
	}
	return front_begin_sasl(s, cmd->has_initial, cmd->initial);
}

static cmd_fn *const commands[SIEVE_VERB_COUNT] = {
	[SIEVE_VERB_UNKNOWN] = cmd_unknown,
	[SIEVE_VERB_AUTHENTICATE] = cmd_authenticate,
	[SIEVE_VERB_STARTTLS] = cmd_starttls,
	[SIEVE_VERB_LOGOUT] = cmd_logout,
	[SIEVE_VERB_CAPABILITY] = cmd_capability,
	[SIEVE_VERB_NOOP] = cmd_noop,
	[SIEVE_VERB_LATER] = cmd_later,
};

/* ---- framing ---------------------------------------------------------------------------------- */

static void next_command(struct session *s)
{
	struct imap_limits limits = {
		.line_max = LINE_MAX_BYTES,
		.literal_max = LITERAL_MAX_BYTES,
		.total_max = COMMAND_MAX_BYTES,
	};
	imap_frame_init(&front_data(s)->frame, limits, true);
}

static enum verdict run_command(struct session *s, struct span command)
{
	struct sieve_cmd cmd;
	err_t err = sieve_cmd_parse(&cmd, command);
	enum verdict v = err == ERR_OK ? commands[cmd.verb](s, &cmd) : complain(s, cmd.why);
	sieve_cmd_end(&cmd);
	return v;
}

/* An answer that is no string ends the exchange, as "*" does. */
static enum verdict run_answer(struct session *s, struct span command)
{
	struct sieve_cmd cmd;
	bool good = sieve_answer_parse(&cmd, command) == ERR_OK;
	enum verdict v = front_take_sasl(s, good ? cmd.initial : SPAN("*"));
	sieve_cmd_end(&cmd);
	return v;
}

/* The command must outlive what is written to the client. */
static enum verdict on_whole(struct session *s)
{
	struct sieve_front *f = front_data(s);
	struct buf command = BUF_INIT(COMMAND_MAX_BYTES + 1);
	buf_add_span(&command, span_first(stream_input(s->client), f->frame.len));
	stream_eat(s->client, f->frame.len);
	next_command(s);
	enum verdict v = sasl_exchange_active(&s->sasl) ? run_answer(s, buf_span(&command))
							: run_command(s, buf_span(&command));
	buf_wipe_end(&command);
	return v;
}

static enum verdict lost(struct session *s, const char *why)
{
	sasl_exchange_end(&s->sasl);
	say(s, "NO", why);
	return front_lost(s, why);
}

static enum verdict on_input(struct session *s)
{
	enum imap_rx rx = imap_frame_scan(&front_data(s)->frame, stream_input(s->client));
	switch (rx) {
	case IMAP_RX_MORE:
		return V_MORE;
	case IMAP_RX_COMMAND:
		return on_whole(s);
	case IMAP_RX_CONTINUE:
		return lost(s, "A client's literal is {n+}");
	case IMAP_RX_LITERAL:
		return lost(s, "Literal too long before login");
	case IMAP_RX_TOO_LONG:
	case IMAP_RX_BAD:
		break;
	}
	return lost(s, imap_rx_why(rx));
}

/* ---- the table's functions -------------------------------------------------------------------- */

static void *front_open(struct session *s)
{
	struct sieve_front *f = MEM_NEW(struct sieve_front);
	s->front_data = f;
	next_command(s);
	return f;
}

static void front_close(void **data)
{
	MEM_FREE(data);
}

static void greet(struct session *s)
{
	struct buf ready = BUF_INIT(ANSWER_MAX);
	buf_printf(&ready, "%s " MULTIPLEXOR_READY, s->setup->hostname);
	send_capabilities(s, buf_cstr(&ready));
	buf_end(&ready);
}

/* The client may not trust what it heard in plaintext: all is said again (RFC 5804 section 2.2). */
static void secured(struct session *s)
{
	send_capabilities(s, "TLS is there");
}

static void welcome(struct session *s, const struct back_done *done)
{
	say(s, "OK", "Logged in");
}

static void bye(struct session *s, enum told told)
{
	stream_printf(
	    s->client, "BYE %s\"%s (id %s)\"\r\n", code_of(told), front_words(told), s->id.s);
}

const struct front front_sieve = {
	.name = "managesieve",
	.name_tls = "managesieves",
	.name_short = "sieve",
	.name_short_tls = "sieves",
	.alpn = "managesieve",
	.last_words = "BYE (TRYLATER) \"Ended by the administrator, connect again\"\r\n",
	.goodbye = "BYE ",
	.parting = "LOGOUT\r\n",
	.back = &back_sieve,
	.limits = { .in_max = COMMAND_MAX_BYTES + 4096, .out_max = 65536 },
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
};
