/* back_pop3.c - logging in to a POP3 store (step 4 of 5, beside route.c).
 *
 * greeting -> [STLS] -> [XCLIENT] -> USER -> PASS, or AUTH -> [CAPA]. One command at a time: every server can do that. */
#include "proto/pop3_cmd.h"

#include "mmp/back.h"

enum step {
	STEP_GREETING,
	STEP_STLS,
	STEP_XCLIENT,
	STEP_USER,
	STEP_PASS,
	STEP_AUTH,
	STEP_RESPONSE,
	STEP_CAPA,  /* logged in; what can it do? */
	STEP_WORDS, /* the lines of its answer */
	STEP_COUNT
};

typedef enum talk_verdict response_fn(struct talk *t, const struct pop3_response *r);

static enum talk_verdict say(struct talk *t, int step, const char *verb, struct span argument)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_add_str(&out, verb);
	buf_add_span(&out, argument);
	buf_add_str(&out, "\r\n");
	return talk_say(t, step, &out);
}

static enum talk_verdict send_user(struct talk *t)
{
	if (!talk_may_be_plain(t))
		return say(t, STEP_AUTH, "AUTH ", span_str(talk_mechanism(t)));
	t->exposed = true; /* from here on a refusal is about the user */
	return say(t, STEP_USER, "USER ", buf_span(&t->user));
}

/* Whom we speak for; only to a store whose greeting offers to listen. */
static enum talk_verdict send_facts(struct talk *t)
{
	if (t->probe)
		return say(t, STEP_CAPA, "CAPA", SPAN_NONE);
	if (!t->facts.told)
		return send_user(t);
	char addr[IP_TEXT_SIZE];
	struct buf facts = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&facts, "ADDR=%s PORT=%u SESSION=%s", ip_text(t->facts.client.addr, addr),
	    t->facts.client.port, t->facts.session.s);
	enum talk_verdict v = say(t, STEP_XCLIENT, "XCLIENT ", buf_span(&facts));
	buf_end(&facts);
	return v;
}

static enum back_status err_status(struct span code)
{
	static const struct {
		const char *code;
		enum back_status status;
	} rows[] = {
		{ "SYS/TEMP", BACK_TEMPORARY },
		{ "SYS/PERM", BACK_TEMPORARY },
		{ "IN-USE", BACK_IN_USE },
		{ "LOGIN-DELAY", BACK_TOO_SOON },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (span_ieq_str(code, rows[i].code))
			return rows[i].status;
	return BACK_WRONG_SECRET;
}

static enum talk_verdict on_greeting(struct talk *t, const struct pop3_response *r)
{
	if (r->status != POP3_OK)
		return talk_broken(t, "does not greet with +OK");
	if (talk_loops(t, r->text))
		return talk_end(t, BACK_LOOP, r->text);
	if (talk_is_probe(t))
		return talk_end(t, BACK_OK, SPAN_NONE);
	t->facts.told = t->facts.told && span_ieq_str(r->code, "XCLIENT");
	return t->starttls != NULL ? say(t, STEP_STLS, "STLS", SPAN_NONE) : send_facts(t);
}

static enum talk_verdict on_stls(struct talk *t, const struct pop3_response *r)
{
	return r->status == POP3_OK ? TALK_TLS : talk_broken(t, "refuses STLS");
}

/* A store that does not take them after all gets the login all the same. */
static enum talk_verdict on_xclient(struct talk *t, const struct pop3_response *r)
{
	return send_user(t);
}

static enum talk_verdict on_user(struct talk *t, const struct pop3_response *r)
{
	if (r->status == POP3_OK)
		return say(t, STEP_PASS, "PASS ", buf_span(&t->secret));
	return talk_end(t, err_status(r->code), buf_span(&t->line));
}

static enum talk_verdict on_pass(struct talk *t, const struct pop3_response *r)
{
	if (r->status == POP3_OK)
		return t->learn ? say(t, STEP_CAPA, "CAPA", SPAN_NONE)
				: talk_end(t, BACK_OK, r->text);
	return talk_end(t, err_status(r->code), buf_span(&t->line));
}

/* Who does not know the command has none of the capabilities. */
static enum talk_verdict on_capa(struct talk *t, const struct pop3_response *r)
{
	t->step = STEP_WORDS;
	t->learnt = r->status == POP3_ERR;
	return t->learnt ? talk_end(t, BACK_OK, r->text) : TALK_READ;
}

/* The first word of a line is the capability. */
static enum talk_verdict on_words(struct talk *t, struct span line)
{
	if (span_eq_str(line, ".")) {
		t->learnt = true;
		return talk_end(t, BACK_OK, SPAN_NONE);
	}
	buf_add_span(&t->capability, span_cut(&line, ' '));
	buf_add_char(&t->capability, ' ');
	return buf_ok(&t->capability) ? TALK_READ : talk_broken(t, "has no end of capabilities");
}

/* The mechanism alone was sent: every server can do that. */
static enum talk_verdict on_auth(struct talk *t, const struct pop3_response *r)
{
	if (r->status != POP3_CONTINUE)
		return talk_broken(t, "does not take the mechanism of store_login");
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	return talk_respond(t, STEP_RESPONSE, &out);
}

static response_fn *const handlers[STEP_COUNT] = {
	[STEP_GREETING] = on_greeting,
	[STEP_STLS] = on_stls,
	[STEP_XCLIENT] = on_xclient,
	[STEP_USER] = on_user,
	[STEP_PASS] = on_pass,
	[STEP_AUTH] = on_auth,
	[STEP_RESPONSE] = on_pass,
	[STEP_CAPA] = on_capa,
};

static enum talk_verdict on_line(struct talk *t, struct span line)
{
	struct pop3_response r;
	if (t->step == STEP_WORDS)
		return on_words(t, line);
	bool good = pop3_response_parse(line, &r);
	if (!good || (r.status == POP3_CONTINUE && t->step != STEP_AUTH))
		return talk_broken(t, "does not speak POP3");
	return handlers[t->step](t, &r);
}

static enum talk_verdict on_secured(struct talk *t)
{
	return send_facts(t);
}

static uint16_t port(const struct store_place *place, bool implicit_tls)
{
	return implicit_tls ? place->pop3s : place->pop3;
}

const struct back back_pop3 = {
	.name = "pop3",
	.port = port,
	.on_line = on_line,
	.on_secured = on_secured,
};
