/* back_smtp.c - logging in to a relay for submission (step 4 of 5, beside route.c).
 *
 * greeting -> EHLO -> [STARTTLS -> EHLO] -> [XCLIENT -> greeting] -> EHLO of the client -> AUTH, unless XCLIENT
 * named the user. What the relay can do is learnt from the EHLO that is said in the client's name: that is
 * what its mail will meet. */
#include "base/base64.h"
#include "proto/smtp_ext.h"
#include "proto/smtp_reply.h"

#include "mmp/back.h"

enum step {
	STEP_GREETING,
	STEP_EHLO,
	STEP_STARTTLS,
	STEP_XCLIENT,
	STEP_NAME,      /* EHLO with the client's name */
	STEP_MECHANISM, /* AUTH was sent; the secret follows the 334 */
	STEP_LOGIN,     /* the secret was sent */
	STEP_COUNT
};

/* An initial response makes a line that short servers take too (RFC 4954 section 4). */
enum { AUTH_LINE_MAX = 500 };

/* In talk's flags: attributes of XCLIENT that the relay takes, by row; and that it was sent. */
enum { ATTR_ADDR, ATTR_PORT, ATTR_NAME, ATTR_HELO, ATTR_PROTO, ATTR_LOGIN, ATTRS };
static const char *const attributes[ATTRS] = { "ADDR", "PORT", "NAME", "HELO", "PROTO", "LOGIN" };

typedef enum talk_verdict reply_fn(struct talk *t, const struct smtp_reply *r);

static enum talk_verdict say(struct talk *t, int step, const char *verb, const char *argument)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&out, "%s%s\r\n", verb, argument);
	return talk_say(t, step, &out);
}

static bool is_good(const struct smtp_reply *r)
{
	return r->code / 100 == 2;
}

static bool by_xclient(const struct talk *t)
{
	return t->policy->login == LOGIN_XCLIENT;
}

/* What is wrong, in the relay's own words; UNREADY, or TEMPORARY once it knows the user. */
static enum talk_verdict refused(struct talk *t)
{
	return talk_lost(t, buf_span(&t->line));
}

/* ---- what the relay offers -------------------------------------------------------------------- */

/* The arguments of an extension in the reply to EHLO; false: it is not there. */
static bool find_extension(const struct smtp_reply *r, const char *name, struct span *args_out)
{
	struct span rest = r->text;
	span_cut(&rest, '\n');
	while (rest.p != NULL) {
		*args_out = span_cut(&rest, '\n');
		if (span_ieq_str(span_cut(args_out, ' '), name))
			return true;
	}
	return false;
}

static void learn(struct talk *t, const struct smtp_reply *r)
{
	struct span rest = r->text;
	span_cut(&rest, '\n');
	buf_clear(&t->capability);
	while (rest.p != NULL) {
		struct span args = span_cut(&rest, '\n');
		buf_add_span(&t->capability, span_cut(&args, ' '));
		buf_add_char(&t->capability, ' ');
	}
	t->learnt = buf_ok(&t->capability);
}

static void note_attributes(struct talk *t, const struct smtp_reply *r)
{
	struct span args;
	t->flags = 0;
	if (!find_extension(r, "XCLIENT", &args))
		return;
	for (size_t i = 0; i < ATTRS; i++)
		if (span_has_word(args, span_str(attributes[i])))
			t->flags |= 1u << i;
}

/* ---- XCLIENT ---------------------------------------------------------------------------------- */

static void put_attribute(const struct talk *t, struct buf *out, size_t which, struct span value)
{
	if ((t->flags >> which & 1) == 0 || value.n == 0)
		return;
	buf_printf(out, " %s=", attributes[which]);
	smtp_xtext_put(out, value);
}

/* Its reverse name we do not know; the relay would keep ours for it. */
static void put_facts(const struct talk *t, struct buf *out)
{
	char text[IP_TEXT_SIZE];
	struct buf value = BUF_INIT(IP_TEXT_SIZE + 8);
	bool v4 = ip_is_v4(t->facts.client.addr);
	buf_printf(&value, "%s%s", v4 ? "" : "IPV6:", ip_text(t->facts.client.addr, text));
	put_attribute(t, out, ATTR_ADDR, buf_span(&value));
	buf_clear(&value);
	buf_add_number(&value, t->facts.client.port);
	put_attribute(t, out, ATTR_PORT, buf_span(&value));
	put_attribute(t, out, ATTR_NAME, SPAN("[UNAVAILABLE]"));
	put_attribute(t, out, ATTR_HELO, span_str(t->client_name != NULL ? t->client_name : ""));
	put_attribute(t, out, ATTR_PROTO, SPAN("ESMTP"));
	buf_end(&value);
}

static enum talk_verdict send_name(struct talk *t)
{
	const char *name = t->client_name != NULL ? t->client_name : t->own_name;
	return say(t, STEP_NAME, "EHLO ", name);
}

static enum talk_verdict send_xclient(struct talk *t)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	size_t bare = 7;
	buf_add_str(&out, "XCLIENT");
	if (t->facts.told)
		put_facts(t, &out);
	if (by_xclient(t))
		put_attribute(t, &out, ATTR_LOGIN, buf_span(&t->authz));
	if (buf_len(&out) == bare) {
		buf_end(&out);
		return send_name(t);
	}
	t->exposed = true; /* from here on a refusal is about the client */
	buf_add_str(&out, "\r\n");
	return talk_say(t, STEP_XCLIENT, &out);
}

/* ---- AUTH ------------------------------------------------------------------------------------- */

static enum talk_verdict send_login(struct talk *t, const struct smtp_reply *r)
{
	struct span offered;
	if (!find_extension(r, "AUTH", &offered) ||
	    !span_has_word(offered, span_str(talk_mechanism(t))))
		return talk_broken(t, "does not offer the mechanism of its login");
	struct buf response = BUF_INIT(TALK_COMMAND_MAX), out = BUF_INIT(TALK_COMMAND_MAX);
	enum talk_verdict v;
	if (!talk_put_response(t, &response)) {
		v = talk_end(t, BACK_TEMPORARY, SPAN("name or password cannot be sent"));
	} else if (buf_len(&response) > AUTH_LINE_MAX) {
		v = say(t, STEP_MECHANISM, "AUTH ", talk_mechanism(t));
	} else {
		buf_printf(
		    &out, "AUTH %s %.*s\r\n", talk_mechanism(t), SPAN_ARG(buf_span(&response)));
		v = talk_say(t, STEP_LOGIN, &out);
	}
	buf_wipe_end(&response);
	return v;
}

/* ---- one handler per step --------------------------------------------------------------------- */

static enum talk_verdict on_greeting(struct talk *t, const struct smtp_reply *r)
{
	if (!is_good(r))
		return refused(t);
	if (talk_loops(t, r->text))
		return talk_end(t, BACK_LOOP, r->text);
	return talk_is_probe(t) ? talk_end(t, BACK_OK, SPAN_NONE)
				: say(t, STEP_EHLO, "EHLO ", t->own_name);
}

static enum talk_verdict on_ehlo(struct talk *t, const struct smtp_reply *r)
{
	if (!is_good(r))
		return refused(t);
	if (t->starttls != NULL && !stream_is_tls(t->stream))
		return say(t, STEP_STARTTLS, "STARTTLS", "");
	if (t->probe) {
		learn(t, r);
		return talk_end(t, BACK_OK, SPAN_NONE);
	}
	note_attributes(t, r);
	if (by_xclient(t) && (t->flags >> ATTR_LOGIN & 1) == 0)
		return talk_broken(t, "does not take XCLIENT LOGIN");
	return send_xclient(t);
}

static enum talk_verdict on_starttls(struct talk *t, const struct smtp_reply *r)
{
	return is_good(r) ? TALK_TLS : talk_broken(t, "refuses STARTTLS");
}

/* The session has begun anew. A relay that does not take the client's address gets the login all the same. */
static enum talk_verdict on_xclient(struct talk *t, const struct smtp_reply *r)
{
	return is_good(r) || !by_xclient(t) ? send_name(t) : refused(t);
}

static enum talk_verdict on_name(struct talk *t, const struct smtp_reply *r)
{
	if (!is_good(r))
		return refused(t);
	learn(t, r);
	return by_xclient(t) ? talk_end(t, BACK_OK, SPAN_NONE) : send_login(t, r);
}

static enum talk_verdict on_login(struct talk *t, const struct smtp_reply *r)
{
	if (r->code == 235)
		return talk_end(t, BACK_OK, SPAN_NONE);
	if (r->code / 100 < 4)
		return talk_broken(t, "asks for more than the login");
	return talk_end(t, r->code == 535 ? BACK_WRONG_SECRET : BACK_TEMPORARY, buf_span(&t->line));
}

static enum talk_verdict on_mechanism(struct talk *t, const struct smtp_reply *r)
{
	if (r->code != 334)
		return is_good(r) ? talk_broken(t, "accepts a login without a password")
				  : on_login(t, r);
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	return talk_respond(t, STEP_LOGIN, &out);
}

static reply_fn *const handlers[STEP_COUNT] = {
	[STEP_GREETING] = on_greeting,
	[STEP_EHLO] = on_ehlo,
	[STEP_STARTTLS] = on_starttls,
	[STEP_XCLIENT] = on_xclient,
	[STEP_NAME] = on_name,
	[STEP_MECHANISM] = on_mechanism,
	[STEP_LOGIN] = on_login,
};

/* ---- the table's functions -------------------------------------------------------------------- */

static enum line_rx take(struct talk *t, struct span *out, size_t *eat_out)
{
	enum smtp_reply_rx rx =
	    smtp_reply_take(&t->replies, stream_input(t->stream), &t->reply, eat_out);
	*out = t->reply.text;
	if (rx == SMTP_REPLY_READY)
		return LINE_READY;
	if (rx == SMTP_REPLY_BAD)
		return LINE_BAD;
	stream_eat(t->stream, *eat_out);
	return LINE_MORE;
}

/* 421 may stand for any answer: the relay closes. */
static enum talk_verdict on_line(struct talk *t, struct span line)
{
	if (t->reply.code == 421)
		return talk_lost(t, line);
	return handlers[t->step](t, &t->reply);
}

static enum talk_verdict on_secured(struct talk *t)
{
	smtp_reply_reader_reset(&t->replies);
	return say(t, STEP_EHLO, "EHLO ", t->own_name);
}

static uint16_t port(const struct store_place *place, bool implicit_tls)
{
	return implicit_tls ? place->submissions : place->submission;
}

const struct back back_smtp = {
	.name = "submission",
	.port = port,
	.take = take,
	.on_line = on_line,
	.on_secured = on_secured,
};
