/* back_imap.c - logging in to an IMAP store (step 4 of 5, beside route.c).
 *
 * greeting -> [STARTTLS] -> [CAPABILITY] -> [ID and] AUTHENTICATE, or LOGIN -> [CAPABILITY].
 * The store's capabilities after login are its own words: from its OK, from an untagged response, or
 * asked for. */
#include "proto/imap_cmd.h"
#include "proto/imap_resp.h"
#include "proto/sasl.h"

#include "mmp/back.h"

enum step {
	STEP_GREETING,
	STEP_STARTTLS,
	STEP_CAPABILITY, /* before login, when the greeting did not say */
	STEP_PLAIN,      /* AUTHENTICATE was sent; the secret follows the "+" */
	STEP_LOGIN,      /* the secret was sent */
	STEP_LEARN,      /* logged in; what can it do now? */
	STEP_COUNT
};

/* Every command has a tag of its own, so that a late answer is not taken for the next one's. */
static const char *const tags[STEP_COUNT] = { "P0", "P1", "P2", "P3", "P3", "P4" };

#define ID_TAG "P5"

enum { ROOM = 256 }; /* commands are most often shorter */

static enum talk_verdict say(struct talk *t, int step, const char *command)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&out, "%s %s\r\n", tags[step], command);
	return talk_say(t, step, &out);
}

/* The capability list of a response, kept when it could be passed on. */
static void learn(struct talk *t, const struct imap_resp *r)
{
	struct span words = span_trim(imap_resp_capabilities(r));
	if (words.n == 0 || span_find(words, ']') != SIZE_MAX)
		return;
	for (size_t i = 0; i < words.n; i++)
		if ((unsigned char)words.p[i] < 0x20 || (unsigned char)words.p[i] >= 0x7f)
			return;
	buf_clear(&t->capability);
	t->learnt = buf_add_span(&t->capability, words);
	if (!t->learnt)
		buf_clear(&t->capability);
}

static enum talk_verdict send_response(struct talk *t, bool initial)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	if (initial)
		buf_printf(&out, "%s AUTHENTICATE %s ", tags[STEP_LOGIN], talk_mechanism(t));
	return talk_respond(t, STEP_LOGIN, &out);
}

static enum talk_verdict send_mechanism(struct talk *t)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	buf_printf(&out, "%s AUTHENTICATE %s\r\n", tags[STEP_PLAIN], talk_mechanism(t));
	return talk_say(t, STEP_PLAIN, &out);
}

/* Whom we speak for, as Dovecot's proxies say it and as our own store understands it. The login follows
 * without waiting for the answer. */
static void send_facts(struct talk *t)
{
	struct buf out = BUF_INIT(TALK_COMMAND_MAX);
	char client[IP_TEXT_SIZE], local[IP_TEXT_SIZE];
	buf_printf(&out,
	    ID_TAG " ID (\"x-originating-ip\" \"%s\" \"x-originating-port\" \"%u\""
		   " \"x-connected-ip\" \"%s\" \"x-connected-port\" \"%u\""
		   " \"x-session-id\" \"%s\")\r\n",
	    ip_text(t->facts.client.addr, client), t->facts.client.port,
	    ip_text(t->facts.local.addr, local), t->facts.local.port, t->facts.session.s);
	t->facts_due = stream_write_span(t->stream, buf_span(&out));
	buf_end(&out);
}

/* The answer to ID, whatever it is; the login goes on all the same. */
static bool is_about_facts(struct talk *t, const struct imap_resp *r)
{
	if (!t->facts_due)
		return false;
	if (r->kind == IMAP_RESP_UNTAGGED)
		return span_ieq_str(r->name, "ID");
	if (r->kind != IMAP_RESP_TAGGED || !span_eq_str(r->tag, ID_TAG))
		return false;
	t->facts_due = false;
	return true;
}

static enum talk_verdict send_login_command(struct talk *t, bool plus)
{
	char room[ROOM];
	struct buf out = BUF_IN(room, TALK_COMMAND_MAX);
	t->exposed = imap_put_login(
	    &out, span_str(tags[STEP_LOGIN]), buf_span(&t->user), buf_span(&t->secret), plus);
	if (t->exposed)
		return talk_say(t, STEP_LOGIN, &out);
	buf_wipe_end(&out);
	return send_mechanism(t);
}

/* Before login t->capability holds what the store said so far. */
static enum talk_verdict send_login(struct talk *t)
{
	struct span can = buf_span(&t->capability);
	bool sasl = span_has_word(can, t->external ? SPAN("AUTH=EXTERNAL") : SPAN("AUTH=PLAIN"));
	bool initial = span_has_word(can, SPAN("SASL-IR"));
	bool closed = span_has_word(can, SPAN("LOGINDISABLED"));
	if (t->probe)
		return talk_end(t, BACK_OK, SPAN_NONE);
	bool plus = span_has_word(can, SPAN("LITERAL+")) ||
		    span_has_word(can, SPAN("LITERAL-")); /* ours are short (RFC 7888 section 5) */
	if (!sasl && !talk_may_be_plain(t))
		return talk_broken(t, "does not offer the mechanism of store_login");
	if (!sasl && closed)
		return talk_broken(t, "takes no password without TLS");
	if (t->facts.told && span_has_word(can, SPAN("ID")))
		send_facts(t);
	buf_clear(&t->capability);
	t->learnt = false;
	if (sasl)
		return initial ? send_response(t, true) : send_mechanism(t);
	return send_login_command(t, plus);
}

static enum talk_verdict learn_then_login(struct talk *t)
{
	return buf_len(&t->capability) > 0 ? send_login(t) : say(t, STEP_CAPABILITY, "CAPABILITY");
}

static enum back_status no_status(struct span code)
{
	static const struct {
		const char *code;
		enum back_status status;
	} rows[] = {
		{ "UNAVAILABLE", BACK_TEMPORARY },
		{ "SERVERBUG", BACK_TEMPORARY },
		{ "LIMIT", BACK_LIMIT },
		{ "CONTACTADMIN", BACK_TEMPORARY },
		{ "PRIVACYREQUIRED", BACK_TEMPORARY },
		{ "INUSE", BACK_IN_USE },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (span_ieq_str(code, rows[i].code))
			return rows[i].status;
	return BACK_WRONG_SECRET;
}

/* ---- one handler per step --------------------------------------------------------------------- */

typedef enum talk_verdict resp_fn(struct talk *t, const struct imap_resp *r);

static enum talk_verdict on_greeting(struct talk *t, const struct imap_resp *r)
{
	if (r->kind != IMAP_RESP_UNTAGGED || r->cond != IMAP_COND_OK)
		return talk_broken(t, r->cond == IMAP_COND_PREAUTH ? "greets with PREAUTH"
								   : "does not greet with OK");
	if (talk_loops(t, r->text))
		return talk_end(t, BACK_LOOP, r->text);
	if (t->starttls != NULL)
		return say(t, STEP_STARTTLS, "STARTTLS");
	if (talk_is_probe(t))
		return talk_end(t, BACK_OK, SPAN_NONE);
	learn(t, r);
	return learn_then_login(t);
}

static enum talk_verdict on_starttls(struct talk *t, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_UNTAGGED)
		return TALK_READ;
	if (r->kind != IMAP_RESP_TAGGED || r->cond != IMAP_COND_OK)
		return talk_broken(t, "refuses STARTTLS");
	return TALK_TLS;
}

static enum talk_verdict on_capability(struct talk *t, const struct imap_resp *r)
{
	learn(t, r);
	if (r->kind == IMAP_RESP_UNTAGGED)
		return TALK_READ;
	if (r->kind != IMAP_RESP_TAGGED || r->cond != IMAP_COND_OK)
		return talk_broken(t, "refuses CAPABILITY");
	return send_login(t);
}

static enum talk_verdict on_login(struct talk *t, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_CONTINUE)
		return talk_broken(t, "asks for more than the login");
	learn(t, r);
	if (r->kind == IMAP_RESP_UNTAGGED) {
		if (r->cond == IMAP_COND_PREAUTH)
			return talk_broken(t, "greets twice");
		bool told =
		    r->cond == IMAP_COND_OK || r->cond == IMAP_COND_NO || r->cond == IMAP_COND_BAD;
		/* The whole line, or nothing of it; capabilities have been learnt, and are told at the end. */
		if (told && !span_ieq_str(r->code, "CAPABILITY"))
			buf_printf(&t->notices, "%.*s\r\n", SPAN_ARG(buf_span(&t->line)));
		return TALK_READ;
	}
	if (r->cond == IMAP_COND_NO)
		return talk_end(t, no_status(r->code), buf_span(&t->line));
	if (r->cond != IMAP_COND_OK)
		return talk_broken(t, "calls the login a syntax error");
	if (buf_len(&t->capability) == 0)
		return say(t, STEP_LEARN, "CAPABILITY");
	return talk_end(t, BACK_OK, r->text);
}

static enum talk_verdict on_plain(struct talk *t, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_CONTINUE)
		return send_response(t, false);
	if (r->kind == IMAP_RESP_UNTAGGED)
		return on_login(t, r);
	if (r->cond == IMAP_COND_OK)
		return talk_broken(t, "accepts a login without a password");
	return talk_end(t, BACK_UNREADY, buf_span(&t->line));
}

static enum talk_verdict on_learn(struct talk *t, const struct imap_resp *r)
{
	if (r->kind == IMAP_RESP_UNTAGGED)
		return on_login(t, r);
	learn(t, r);
	if (r->kind != IMAP_RESP_TAGGED)
		return talk_broken(t, "does not answer CAPABILITY");
	return talk_end(t, BACK_OK, r->text);
}

static resp_fn *const handlers[STEP_COUNT] = {
	[STEP_GREETING] = on_greeting,
	[STEP_STARTTLS] = on_starttls,
	[STEP_CAPABILITY] = on_capability,
	[STEP_PLAIN] = on_plain,
	[STEP_LOGIN] = on_login,
	[STEP_LEARN] = on_learn,
};

/* ---- the table's functions -------------------------------------------------------------------- */

static enum talk_verdict on_line(struct talk *t, struct span line)
{
	struct imap_resp r;
	if (imap_resp_parse(line, &r) != ERR_OK)
		return talk_broken(t, "does not speak IMAP");
	if (r.cond == IMAP_COND_BYE)
		return talk_lost(t, line);
	if (is_about_facts(t, &r))
		return TALK_READ;
	if (r.kind == IMAP_RESP_TAGGED && (t->facts_due || !span_eq_str(r.tag, tags[t->step])))
		return talk_broken(t, "answers what was not asked");
	return handlers[t->step](t, &r);
}

static enum talk_verdict on_secured(struct talk *t)
{
	return say(t, STEP_CAPABILITY, "CAPABILITY");
}

static uint16_t port(const struct store_place *place, bool implicit_tls)
{
	return implicit_tls ? place->imaps : place->imap;
}

const struct back back_imap = {
	.name = "imap",
	.port = port,
	.on_line = on_line,
	.on_secured = on_secured,
};
