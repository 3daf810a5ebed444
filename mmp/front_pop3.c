/* front_pop3.c - what a POP3 client sees before its login (step 3 of 5; before: admit.c; after:
 * authenticate.c). Owns: struct pop3_front. */
#include "base/ident.h"
#include "base/mem.h"
#include "proto/line.h"
#include "proto/pop3_cmd.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/sasl_turn.h"
#include "mmp/session.h"

/* Room for a PLAIN response with the longest names and secret that are taken. */
enum { LINE_MAX_BYTES = 4096, ANSWER_MAX = 8192, CHALLENGE_MAX = 512 };

struct pop3_front {
	struct line_scan scan;
	struct buf user;      /* after USER */
	struct buf challenge; /* of the greeting, for APOP; empty: not offered */
};

typedef enum verdict cmd_fn(struct session *s, const struct pop3_cmd *cmd);

/* ---- answers ---------------------------------------------------------------------------------- */

static struct pop3_front *front_data(struct session *s)
{
	return s->front_data;
}

static enum verdict say_ok(struct session *s, const char *text)
{
	stream_printf(s->client, "+OK %s\r\n", text);
	return V_READ;
}

static enum verdict say_err(struct session *s, const char *text)
{
	stream_printf(s->client, "-ERR %s\r\n", text);
	return front_error(s);
}

static const char *code_of(enum told told)
{
	static const char *const codes[TOLD_COUNT] = {
		[TOLD_CREDENTIALS] = "[AUTH] ",
		[TOLD_CONTACT] = "[SYS/PERM] ",
		[TOLD_UNAVAILABLE] = "[SYS/TEMP] ",
		[TOLD_LATE] = "[SYS/TEMP] ",
		[TOLD_IN_USE] = "[IN-USE] ",
		[TOLD_TOO_SOON] = "[LOGIN-DELAY] ",
		[TOLD_LIMIT] = "[SYS/TEMP] ",
		[TOLD_PRIVACY] = "[SYS/PERM] ", /* [AUTH] would make clients ask for the password */
		[TOLD_BUSY] = "[SYS/TEMP] ",
		[TOLD_SHUTDOWN] = "[SYS/TEMP] ",
	};
	return codes[told] != NULL ? codes[told] : "";
}

static void refuse(struct session *s, enum told told)
{
	stream_printf(
	    s->client, "-ERR %s%s (id %s)\r\n", code_of(told), front_words(told), s->id.s);
}

/* ---- commands --------------------------------------------------------------------------------- */

static enum verdict cmd_unknown(struct session *s, const struct pop3_cmd *cmd)
{
	return say_err(s, "Unknown, or not before login");
}

/* The line "SASL ...", when there is a mechanism. */
static void put_sasl(const struct session *s, struct buf *out)
{
	struct buf list = BUF_INIT(ANSWER_MAX);
	sasl_turn_put_mechs(s, &list, " ", "");
	if (buf_len(&list) > 0)
		buf_printf(out, "SASL%s\r\n", buf_cstr(&list));
	buf_end(&list);
}

static enum verdict cmd_capa(struct session *s, const struct pop3_cmd *cmd)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	buf_add_str(&out, "+OK Capabilities follow\r\n");
	front_put_capability(s, &out, "", "\r\n");
	if (front_offers_tls(s))
		buf_add_str(&out, "STLS\r\n");
	if (front_takes_passwords(s))
		buf_add_str(&out, "USER\r\n");
	put_sasl(s, &out);
	buf_add_str(&out, ".\r\n");
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
	return V_READ;
}

static enum verdict cmd_quit(struct session *s, const struct pop3_cmd *cmd)
{
	say_ok(s, front_words(TOLD_NOTHING));
	return session_close(s, WHY_LOGOUT, NULL);
}

static enum verdict cmd_stls(struct session *s, const struct pop3_cmd *cmd)
{
	if (!front_offers_tls(s))
		return say_err(s, "TLS cannot be started here");
	buf_clear(&front_data(s)->user);
	return front_start_tls(s, SPAN("+OK Begin TLS\r\n"));
}

static enum verdict cmd_user(struct session *s, const struct pop3_cmd *cmd)
{
	struct pop3_front *f = front_data(s);
	if (!front_takes_secrets(s))
		return authenticate_deny(s, cmd->argument, WHY_PLAINTEXT);
	if (!front_takes_passwords(s))
		return say_err(s, "Passwords are not taken here, use AUTH");
	buf_clear(&f->user);
	if (cmd->argument.n == 0 || !buf_add_span(&f->user, cmd->argument)) {
		buf_clear(&f->user);
		return say_err(s, "Not a user name");
	}
	return say_ok(s, "Now the password");
}

static enum verdict cmd_pass(struct session *s, const struct pop3_cmd *cmd)
{
	struct pop3_front *f = front_data(s);
	if (!front_takes_secrets(s))
		return authenticate_deny(s, SPAN_NONE, WHY_PLAINTEXT);
	if (buf_len(&f->user) == 0)
		return say_err(s, "USER first");
	enum verdict v = authenticate_start(s, buf_span(&f->user), cmd->argument);
	buf_clear(&f->user);
	return v;
}

static enum verdict cmd_apop(struct session *s, const struct pop3_cmd *cmd)
{
	struct pop3_front *f = front_data(s);
	if (buf_len(&f->challenge) == 0)
		return cmd_unknown(s, cmd);
	if (!front_takes_secrets(s))
		return authenticate_deny(s, cmd->argument, WHY_PLAINTEXT);
	struct buf message = BUF_INIT(LINE_MAX_BYTES);
	buf_printf(&message, "%.*s %.*s", SPAN_ARG(cmd->argument), SPAN_ARG(cmd->digest));
	enum verdict v = sasl_turn_apop(s, buf_span(&f->challenge), buf_span(&message));
	buf_end(&message);
	return v;
}

static enum verdict list_mechanisms(struct session *s)
{
	struct buf list = BUF_INIT(ANSWER_MAX);
	say_ok(s, "Mechanisms follow");
	sasl_turn_put_mechs(s, &list, "", "\r\n");
	stream_write_span(s->client, buf_span(&list));
	buf_end(&list);
	stream_write_span(s->client, SPAN(".\r\n"));
	return V_READ;
}

static enum verdict cmd_auth(struct session *s, const struct pop3_cmd *cmd)
{
	if (cmd->argument.n == 0)
		return list_mechanisms(s);
	if (!front_takes_secrets(s))
		return authenticate_deny(s, SPAN_NONE, WHY_PLAINTEXT);
	if (!sasl_turn_begin(s, cmd->argument))
		return say_err(s, "Mechanism not offered");
	return front_begin_sasl(s, cmd->has_initial, cmd->initial);
}

static cmd_fn *const commands[POP3_VERB_COUNT] = {
	[POP3_VERB_USER] = cmd_user,
	[POP3_VERB_PASS] = cmd_pass,
	[POP3_VERB_APOP] = cmd_apop,
	[POP3_VERB_AUTH] = cmd_auth,
	[POP3_VERB_STLS] = cmd_stls,
	[POP3_VERB_CAPA] = cmd_capa,
	[POP3_VERB_QUIT] = cmd_quit,
};

/* ---- framing ---------------------------------------------------------------------------------- */

static enum verdict run_line(struct session *s, struct span line)
{
	if (sasl_exchange_active(&s->sasl))
		return front_take_sasl(s, line);
	struct pop3_cmd cmd;
	if (pop3_cmd_parse(line, &cmd) != ERR_OK)
		return say_err(s, cmd.why);
	cmd_fn *fn = commands[cmd.verb];
	return fn != NULL ? fn(s, &cmd) : cmd_unknown(s, &cmd);
}

/* An exchange that was going on is over: the client will not take the error for a prompt. */
static enum verdict on_bad_line(struct session *s, enum line_rx rx)
{
	sasl_exchange_end(&s->sasl);
	enum verdict v = say_err(s, line_rx_why(rx));
	return rx == LINE_BAD && v == V_READ ? front_lost(s, line_rx_why(rx)) : v;
}

static enum verdict on_input(struct session *s)
{
	struct pop3_front *f = front_data(s);
	struct span line;
	size_t eat;
	enum line_rx rx = line_take(&f->scan, stream_input(s->client), &line, &eat);
	struct buf copy = BUF_INIT(LINE_MAX_BYTES);
	if (rx == LINE_READY)
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
	struct pop3_front *f = MEM_NEW(struct pop3_front);
	f->scan = LINE_SCAN_INIT(LINE_MAX_BYTES);
	f->user = BUF_INIT(SASL_NAME_MAX);
	f->challenge = BUF_INIT(CHALLENGE_MAX);
	return f;
}

static void front_close(void **data)
{
	struct pop3_front *f = *data;
	buf_end(&f->user);
	buf_end(&f->challenge);
	MEM_FREE(data);
}

/* The challenge is not the session's id: that is in logs and answers. */
static void greet(struct session *s)
{
	struct buf *challenge = &front_data(s)->challenge;
	if (s->setup->mmp->apop)
		buf_printf(challenge, "<%s@%s>", ident_new().s, s->setup->hostname);
	stream_printf(s->client, "+OK %s " MULTIPLEXOR_READY "%s%.*s\r\n", s->setup->hostname,
	    buf_len(challenge) > 0 ? " " : "", SPAN_ARG(buf_span(challenge)));
}

static void challenge(struct session *s, struct span prompt)
{
	stream_printf(s->client, "+ %.*s\r\n", SPAN_ARG(prompt));
}

static void welcome(struct session *s, const struct back_done *done)
{
	say_ok(s, "Logged in");
}

/* After a refusal or an error the command has its answer: another line would be taken for the next
 * one's. */
static void bye(struct session *s, enum told told)
{
	if (told != TOLD_FAILURES && told != TOLD_ERRORS && told != TOLD_LATE)
		refuse(s, told);
}

const struct front front_pop3 = {
	.name = "pop3",
	.name_tls = "pop3s",
	.name_short = "pop",
	.name_short_tls = "pops",
	.alpn = "pop3",
	.last_words = "",
	.goodbye = "-ERR ",
	.parting = "QUIT\r\n",
	.back = &back_pop3,
	.limits = { .in_max = 2 * LINE_MAX_BYTES, .out_max = 32768 },
	.open = front_open,
	.close = front_close,
	.greet = greet,
	.on_input = on_input,
	.challenge = challenge,
	.complain = say_err,
	.refuse = refuse,
	.welcome = welcome,
	.bye = bye,
};
