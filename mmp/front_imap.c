/* front_imap.c - what an IMAP client sees before its login (step 3 of 5; before: admit.c; after:
 * authenticate.c). Owns: struct imap_front. */
#include "base/mem.h"
#include "proto/imap_cmd.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/sasl_turn.h"
#include "mmp/session.h"

enum { LINE_MAX_BYTES = 8192, LITERAL_MAX_BYTES = 4096, COMMAND_MAX_BYTES = 12288 };
enum { ANSWER_MAX = 16384, ROOM = 512 }; /* both are most often shorter than that */

struct imap_front {
	struct imap_frame frame;
	struct buf tag; /* of the command whose answer is due */
	char tag_room[16];
};

typedef enum verdict cmd_fn(struct session *s, const struct imap_cmd *cmd);

/* ---- answers ---------------------------------------------------------------------------------- */

static struct imap_front *front_data(struct session *s)
{
	return s->front_data;
}

static void put_capability(const struct session *s, struct buf *out)
{
	buf_add_str(out, "CAPABILITY");
	front_put_capability(s, out, " ", "");
	if (front_offers_tls(s))
		buf_add_str(out, " STARTTLS");
	if (!front_takes_passwords(s))
		buf_add_str(out, " LOGINDISABLED");
	sasl_turn_put_mechs(s, out, " AUTH=", "");
}

static void say(struct session *s, const char *status, const char *text)
{
	stream_printf(
	    s->client, "%.*s %s %s\r\n", SPAN_ARG(buf_span(&front_data(s)->tag)), status, text);
}

static enum verdict say_bad(struct session *s, const char *text)
{
	say(s, "BAD", text);
	return front_error(s);
}

static const char *code_of(enum told told)
{
	static const char *const codes[TOLD_COUNT] = {
		[TOLD_CREDENTIALS] = "[AUTHENTICATIONFAILED] ",
		[TOLD_CONTACT] = "[CONTACTADMIN] ",
		[TOLD_UNAVAILABLE] = "[UNAVAILABLE] ",
		[TOLD_LATE] = "[UNAVAILABLE] ",
		[TOLD_IN_USE] = "[INUSE] ",
		[TOLD_TOO_SOON] = "[LIMIT] ",
		[TOLD_LIMIT] = "[LIMIT] ",
		[TOLD_PRIVACY] = "[PRIVACYREQUIRED] ",
		[TOLD_BUSY] = "[UNAVAILABLE] ",
		[TOLD_SHUTDOWN] = "[UNAVAILABLE] ",
	};
	return codes[told] != NULL ? codes[told] : "";
}

/* ---- commands --------------------------------------------------------------------------------- */

static enum verdict cmd_unknown(struct session *s, const struct imap_cmd *cmd)
{
	return say_bad(s, "Unknown, or not before login");
}

static enum verdict cmd_capability(struct session *s, const struct imap_cmd *cmd)
{
	struct buf out = BUF_INIT(ANSWER_MAX);
	buf_add_str(&out, "* ");
	put_capability(s, &out);
	buf_add_str(&out, "\r\n");
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
	say(s, "OK", "Done");
	return V_READ;
}

static enum verdict cmd_noop(struct session *s, const struct imap_cmd *cmd)
{
	say(s, "OK", "Done");
	return V_READ;
}

static enum verdict cmd_logout(struct session *s, const struct imap_cmd *cmd)
{
	stream_printf(s->client, "* BYE %s\r\n", front_words(TOLD_NOTHING));
	say(s, "OK", "Logged out");
	return session_close(s, WHY_LOGOUT, NULL);
}

static enum verdict cmd_id(struct session *s, const struct imap_cmd *cmd)
{
	stream_printf(s->client, "* ID (\"name\" \"Postern\")\r\n");
	say(s, "OK", "Done");
	return V_READ;
}

static enum verdict cmd_starttls(struct session *s, const struct imap_cmd *cmd)
{
	if (!front_offers_tls(s))
		return say_bad(s, "TLS cannot be started here");
	struct buf ok = BUF_INIT(ANSWER_MAX);
	buf_printf(&ok, "%.*s OK Begin TLS\r\n", SPAN_ARG(buf_span(&front_data(s)->tag)));
	enum verdict v = front_start_tls(s, buf_span(&ok));
	buf_end(&ok);
	return v;
}

static enum verdict cmd_login(struct session *s, const struct imap_cmd *cmd)
{
	if (!front_takes_secrets(s))
		return authenticate_deny(s, cmd->user, WHY_PLAINTEXT);
	if (!front_takes_passwords(s))
		return say_bad(s, "Passwords are not taken here, use AUTHENTICATE");
	return authenticate_start(s, cmd->user, cmd->secret);
}

static enum verdict cmd_authenticate(struct session *s, const struct imap_cmd *cmd)
{
	if (!front_takes_secrets(s))
		return authenticate_deny(s, SPAN_NONE, WHY_PLAINTEXT);
	if (!sasl_turn_begin(s, cmd->mechanism)) {
		say(s, "NO", "Mechanism not offered");
		return front_error(s);
	}
	return front_begin_sasl(s, cmd->has_initial, cmd->initial);
}

static cmd_fn *const commands[] = {
	[IMAP_VERB_UNKNOWN] = cmd_unknown,
	[IMAP_VERB_CAPABILITY] = cmd_capability,
	[IMAP_VERB_NOOP] = cmd_noop,
	[IMAP_VERB_LOGOUT] = cmd_logout,
	[IMAP_VERB_ID] = cmd_id,
	[IMAP_VERB_STARTTLS] = cmd_starttls,
	[IMAP_VERB_LOGIN] = cmd_login,
	[IMAP_VERB_AUTHENTICATE] = cmd_authenticate,
	[IMAP_VERB_ENABLE] = cmd_unknown,
};

/* ---- framing ---------------------------------------------------------------------------------- */

/* Without TLS no literal is asked for: a secret in it would be on the wire before we could refuse. */
static void next_command(struct session *s)
{
	struct imap_limits limits = {
		.line_max = LINE_MAX_BYTES,
		.literal_max = front_takes_secrets(s) ? LITERAL_MAX_BYTES : 0,
		.total_max = COMMAND_MAX_BYTES,
	};
	imap_frame_init(&front_data(s)->frame, limits, true);
}

static void keep_tag(struct imap_front *f, struct span tag)
{
	buf_clear(&f->tag);
	buf_add_span(&f->tag, tag.n > 0 && tag.n <= IMAP_TAG_MAX ? tag : SPAN("*"));
}

static enum verdict run_command(struct session *s, struct span command)
{
	struct imap_cmd cmd;
	err_t err = imap_cmd_parse(&cmd, command);
	keep_tag(front_data(s), cmd.tag);
	enum verdict v = err == ERR_OK ? commands[cmd.verb](s, &cmd)
				       : say_bad(s, cmd.why != NULL ? cmd.why : "");
	imap_cmd_end(&cmd);
	return v;
}

/* Takes `len` bytes off the stream: the command must outlive what is written to it. */
static void take_bytes(struct session *s, size_t len, struct buf *to)
{
	buf_add_span(to, span_first(stream_input(s->client), len));
	stream_eat(s->client, len);
}

static enum verdict on_whole(struct session *s)
{
	char room[ROOM];
	struct buf command = BUF_IN(room, COMMAND_MAX_BYTES + 1);
	take_bytes(s, front_data(s)->frame.len, &command);
	enum verdict v = run_command(s, buf_span(&command));
	buf_wipe_end(&command);
	next_command(s);
	return v;
}

/* A literal that will not be taken; it is announced by the last of the first len bytes. */
static enum verdict refuse_literal(struct session *s, size_t len, bool sync)
{
	struct imap_front *f = front_data(s);
	char room[ROOM];
	struct buf command = BUF_IN(room, COMMAND_MAX_BYTES + 1);
	struct imap_cmd cmd;
	take_bytes(s, len, &command);
	imap_cmd_parse(&cmd, buf_span(&command));
	keep_tag(f, cmd.tag);
	imap_cmd_end(&cmd);
	buf_wipe_end(&command);
	next_command(s);
	if (sync && !front_takes_secrets(s))
		say(s, "NO", "[PRIVACYREQUIRED] Start TLS before you send literals");
	else
		say(s, "BAD", "Literal too long");
	return sync ? front_error(s) : front_lost(s, "literal too long");
}

static enum verdict on_literal(struct session *s)
{
	struct imap_front *f = front_data(s);
	bool sync = f->frame.literal_sync, small = f->frame.literal_size <= LITERAL_MAX_BYTES;
	bool closed = f->frame.limits.literal_max == 0;
	if (!small || !closed || (sync && !front_takes_secrets(s)))
		return refuse_literal(s, f->frame.len, sync);
	/* It comes anyhow and is refused when it is there, or TLS has come since the command began. */
	f->frame.limits.literal_max = LITERAL_MAX_BYTES;
	imap_frame_reset(&f->frame);
	return s->front->on_input(s);
}

static enum verdict on_lost(struct session *s, enum imap_rx rx)
{
	stream_printf(s->client, "* BAD %s\r\n", imap_rx_why(rx));
	return front_lost(s, imap_rx_why(rx));
}

static enum verdict on_sasl_line(struct session *s)
{
	struct imap_front *f = front_data(s);
	enum imap_rx rx = imap_frame_line(&f->frame, stream_input(s->client));
	if (rx == IMAP_RX_MORE)
		return V_MORE;
	if (rx != IMAP_RX_COMMAND)
		return on_lost(s, rx);
	char room[ROOM];
	struct buf line = BUF_IN(room, COMMAND_MAX_BYTES + 1);
	take_bytes(s, f->frame.len, &line);
	imap_frame_reset(&f->frame);
	enum verdict v = front_take_sasl(s, span_trim(buf_span(&line)));
	buf_wipe_end(&line);
	return v;
}

static enum verdict on_input(struct session *s)
{
	struct imap_front *f = front_data(s);
	if (sasl_exchange_active(&s->sasl))
		return on_sasl_line(s);
	enum imap_rx rx;
	while ((rx = imap_frame_scan(&f->frame, stream_input(s->client))) == IMAP_RX_CONTINUE) {
		if (!front_takes_secrets(s))
			return refuse_literal(s, f->frame.at, true);
		stream_printf(s->client, "+ Go on\r\n");
	}
	switch (rx) {
	case IMAP_RX_MORE:
		return V_MORE;
	case IMAP_RX_COMMAND:
		return on_whole(s);
	case IMAP_RX_LITERAL:
		return on_literal(s);
	case IMAP_RX_CONTINUE:
	case IMAP_RX_TOO_LONG:
	case IMAP_RX_BAD:
		break;
	}
	return on_lost(s, rx);
}

/* ---- the table's functions -------------------------------------------------------------------- */

static void *front_open(struct session *s)
{
	struct imap_front *f = MEM_NEW(struct imap_front);
	f->tag = BUF_IN(f->tag_room, IMAP_TAG_MAX);
	s->front_data = f;
	next_command(s);
	return f;
}

static void front_close(void **data)
{
	struct imap_front *f = *data;
	buf_end(&f->tag);
	MEM_FREE(data);
}

static void greet(struct session *s)
{
	char room[ROOM];
	struct buf out = BUF_IN(room, ANSWER_MAX);
	next_command(s); /* TLS may have come since the session was made */
	buf_add_str(&out, "* OK [");
	put_capability(s, &out);
	buf_printf(&out, "] %s " MULTIPLEXOR_READY "\r\n", s->setup->hostname);
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
}

static void challenge(struct session *s, struct span prompt)
{
	stream_printf(s->client, "+ %.*s\r\n", SPAN_ARG(prompt));
}

static void refuse(struct session *s, enum told told)
{
	stream_printf(s->client, "%.*s NO %s%s (id %s)\r\n",
	    SPAN_ARG(buf_span(&front_data(s)->tag)), code_of(told), front_words(told), s->id.s);
}

/* The store's own words, but for what is masked. */
static void put_store_capability(const struct session *s, struct buf *out, struct span words)
{
	const char *before = "[CAPABILITY";
	while (words.n > 0) {
		struct span word = span_cut(&words, ' ');
		if (word.n == 0 || mmp_conf_masks(s->setup->mmp, word))
			continue;
		buf_add_str(out, before);
		buf_add_char(out, ' ');
		buf_add_span(out, word);
		before = "";
	}
	if (before[0] == '\0')
		buf_add_str(out, "] ");
}

static void welcome(struct session *s, const struct back_done *done)
{
	stream_write_span(s->client, done->notices);
	char room[ROOM];
	struct buf out = BUF_IN(room, ANSWER_MAX);
	buf_add_span(&out, buf_span(&front_data(s)->tag));
	buf_add_str(&out, " OK ");
	put_store_capability(s, &out, done->capability);
	buf_add_str(&out, "Logged in\r\n");
	stream_write_span(s->client, buf_span(&out));
	buf_end(&out);
}

static void bye(struct session *s, enum told told)
{
	stream_printf(
	    s->client, "* BYE %s%s (id %s)\r\n", code_of(told), front_words(told), s->id.s);
}

const struct front front_imap = {
	.name = "imap",
	.name_tls = "imaps",
	.alpn = "imap",
	.last_words = "* BYE Ended by the administrator, connect again\r\n",
	.goodbye = "* BYE ",
	.parting = "LOGOUT\r\n",
	.back = &back_imap,
	.limits = { .in_max = COMMAND_MAX_BYTES + 4096, .out_max = 65536 },
	.open = front_open,
	.close = front_close,
	.greet = greet,
	.on_input = on_input,
	.challenge = challenge,
	.complain = say_bad,
	.refuse = refuse,
	.welcome = welcome,
	.bye = bye,
};
