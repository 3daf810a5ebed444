/* back_sieve.c - logging in to a ManageSieve store (step 4 of 5, beside route.c). RFC 5804.
 *
 * capabilities -> [STARTTLS -> capabilities] -> [XCLIENT] -> AUTHENTICATE. Its Sieve extensions are learnt
 * from the capabilities that it sends without being asked. */
#include "proto/sieve_cmd.h"

#include "mmp/back.h"

enum step {
	STEP_GREETING,
	STEP_STARTTLS,
	STEP_SECURED, /* capabilities once more */
	STEP_XCLIENT,
	STEP_LOGIN, /* the secret was sent */
	STEP_COUNT
};

/* What the store's capabilities say, in talk's flags. */
enum { HAS_XCLIENT = 1, HAS_MECHANISM = 2 };

typedef enum talk_verdict resp_fn(struct talk *t, const struct sieve_resp *r);

static enum talk_verdict say(struct talk *t, int step, const char *command)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&out, "%s\r\n", command);
	return talk_say(t, step, &out);
}

static enum talk_verdict send_login(struct talk *t)
{
	if ((t->flags & HAS_MECHANISM) == 0)
		return talk_broken(t, "does not offer the mechanism of its login");
	struct buf out = BUF_INIT(TALK_COMMAND_MAX), response = BUF_INIT(TALK_COMMAND_MAX);
	enum talk_verdict v = TALK_DONE;
	if (talk_put_response(t, &response)) {
		buf_printf(&out, "AUTHENTICATE \"%s\" ", talk_mechanism(t));
		imap_put_literal(&out, buf_span(&response), true);
		buf_add_str(&out, "\r\n");
		v = talk_say(t, STEP_LOGIN, &out);
	} else {
		v = talk_end(t, BACK_TEMPORARY, SPAN("name or password cannot be sent"));
	}
	buf_wipe_end(&response);
	return v;
}

/* Whom we speak for, as Dovecot's proxies say it; to a store that offers to listen. */
static enum talk_verdict send_facts(struct talk *t)
{
	if (t->probe)
		return talk_end(t, BACK_OK, SPAN_NONE);
	if (!t->facts.told || (t->flags & HAS_XCLIENT) == 0)
		return send_login(t);
	char addr[IP_TEXT_SIZE];
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&out, "XCLIENT ADDR=%s PORT=%u SESSION=%s\r\n",
	    ip_text(t->facts.client.addr, addr), t->facts.client.port, t->facts.session.s);
	return talk_say(t, STEP_XCLIENT, &out);
}

static void learn(struct talk *t, const struct sieve_resp *r)
{
	if (span_ieq_str(r->name, "XCLIENT"))
		t->flags |= HAS_XCLIENT;
	if (span_ieq_str(r->name, "SASL") && span_has_word(r->value, span_str(talk_mechanism(t))))
		t->flags |= HAS_MECHANISM;
	if (!span_ieq_str(r->name, "SIEVE"))
		return;
	buf_clear(&t->capability);
	t->learnt = buf_add_span(&t->capability, r->value);
}

static enum back_status no_status(struct span code)
{
	static const char *const not_the_user[] = { "TRYLATER", "AUTH-TOO-WEAK", "ENCRYPT-NEEDED",
		"TRANSITION-NEEDED", "REFERRAL" };
	for (size_t i = 0; i < sizeof not_the_user / sizeof not_the_user[0]; i++)
		if (span_ieq_str(code, not_the_user[i]))
			return BACK_TEMPORARY;
	return BACK_WRONG_SECRET;
}

static enum talk_verdict on_capabilities(
    struct talk *t, const struct sieve_resp *r, enum talk_verdict (*next)(struct talk *t))
{
	if (r->kind == SIEVE_RESP_NO)
		return talk_broken(t, "does not greet with OK");
	if (r->kind == SIEVE_RESP_OK)
		return next(t);
	learn(t, r);
	return TALK_READ;
}

static enum talk_verdict secure_first(struct talk *t)
{
	if (talk_is_probe(t))
		return talk_end(t, BACK_OK, SPAN_NONE);
	if (t->starttls == NULL)
		return send_facts(t);
	t->flags = 0; /* what was said in plaintext does not count */
	t->learnt = false;
	return say(t, STEP_STARTTLS, "STARTTLS");
}

static enum talk_verdict on_greeting(struct talk *t, const struct sieve_resp *r)
{
	if (r->kind == SIEVE_RESP_OK && talk_loops(t, r->text))
		return talk_end(t, BACK_LOOP, r->text);
	return on_capabilities(t, r, secure_first);
}

static enum talk_verdict on_starttls(struct talk *t, const struct sieve_resp *r)
{
	return r->kind == SIEVE_RESP_OK ? TALK_TLS : talk_broken(t, "refuses STARTTLS");
}

static enum talk_verdict on_again(struct talk *t, const struct sieve_resp *r)
{
	return on_capabilities(t, r, send_facts);
}

/* A store that does not take them after all gets the login all the same. */
static enum talk_verdict on_xclient(struct talk *t, const struct sieve_resp *r)
{
	if (r->kind == SIEVE_RESP_DATA)
		return talk_broken(t, "answers what was not asked");
	return send_login(t);
}

static enum talk_verdict on_login(struct talk *t, const struct sieve_resp *r)
{
	if (r->kind == SIEVE_RESP_DATA)
		return talk_broken(t, "asks for more than the login");
	if (r->kind == SIEVE_RESP_OK)
		return talk_end(t, BACK_OK, r->text);
	return talk_end(t, no_status(r->code), buf_span(&t->line));
}

static resp_fn *const handlers[STEP_COUNT] = {
	[STEP_GREETING] = on_greeting,
	[STEP_STARTTLS] = on_starttls,
	[STEP_SECURED] = on_again,
	[STEP_XCLIENT] = on_xclient,
	[STEP_LOGIN] = on_login,
};

/* ---- the table's functions -------------------------------------------------------------------- */

static enum line_rx take(struct talk *t, struct span *out, size_t *eat_out)
{
	struct imap_limits limits = { TALK_LINE_MAX, TALK_LINE_MAX, TALK_LINE_MAX };
	if (t->frame.limits.line_max == 0)
		imap_frame_init(&t->frame, limits, false);
	struct span in = stream_input(t->stream);
	enum imap_rx rx = imap_frame_scan(&t->frame, in);
	*eat_out = 0;
	if (rx == IMAP_RX_MORE)
		return LINE_MORE;
	if (rx != IMAP_RX_COMMAND)
		return rx == IMAP_RX_BAD ? LINE_BAD : LINE_TOO_LONG;
	*eat_out = t->frame.len;
	*out = span_first(in, t->frame.len - 2); /* without its CRLF */
	imap_frame_reset(&t->frame);
	return LINE_READY;
}

static enum talk_verdict on_line(struct talk *t, struct span line)
{
	struct sieve_resp r;
	enum talk_verdict v;
	if (sieve_resp_parse(&r, line) != ERR_OK)
		v = talk_broken(t, "does not speak ManageSieve");
	else if (r.kind == SIEVE_RESP_BYE)
		v = talk_lost(t, line);
	else
		v = handlers[t->step](t, &r);
	sieve_resp_end(&r);
	return v;
}

static enum talk_verdict on_secured(struct talk *t)
{
	t->step = STEP_SECURED;
	return TALK_WAIT;
}

static uint16_t port(const struct store_place *place, bool implicit_tls)
{
	return place->sieve;
}

const struct back back_sieve = {
	.name = "managesieve",
	.port = port,
	.take = take,
	.on_line = on_line,
	.on_secured = on_secured,
};
