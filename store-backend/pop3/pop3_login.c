/* pop3_login.c - before the login: USER PASS AUTH STLS XCLIENT, the login itself, and the opening of the INBOX.
 *
 * Step 2 of the store. A session's name and secret live no longer than the command that says them. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/login.h"
#include "store-backend/pop3/pop3_internal.h"

/* ---- the login --------------------------------------------------------------------------------- */

static enum verdict opened(struct pop3_session *s)
{
	/* no line is half looked at: what follows the login command has waited in the stream */
	s->scan = LINE_SCAN_INIT(POP3_LINE_MAX);
	pop3_set_state(s, POP3_ST_BOX);
	return pop3_ok(
	    s, "%zu messages, %llu octets", s->drop->left, (unsigned long long)s->drop->left_bytes);
}

enum verdict pop3_open(struct pop3_session *s)
{
	switch (maildrop_load(s->drop)) {
	case MAILDROP_OK:
		return opened(s);
	case MAILDROP_MORE:
		return pop3_yield(s);
	case MAILDROP_IN_USE:
	case MAILDROP_TOO_SOON:
	case MAILDROP_LATER:
		break;
	}
	return pop3_refuse(s, "index-away", "[SYS/TEMP] ", "The store is away, try again later");
}

static enum verdict logged_in(struct pop3_session *s, const struct login_answer *a)
{
	s->user = mem_str(a->user);
	struct maildrop_how how = { s->opts->pop3_exclusive, s->opts->pop3_login_delay / 1000 };
	switch (maildrop_open(a->partition, span_str(s->user), &how, &s->drop)) {
	case MAILDROP_OK:
		pop3_set_state(s, POP3_ST_OPEN);
		return V_NEXT;
	case MAILDROP_IN_USE:
		return pop3_refuse(
		    s, "in-use", "[IN-USE] ", "Another POP3 session has this mailbox");
	case MAILDROP_TOO_SOON:
		return pop3_refuse(
		    s, "login-delay", "[LOGIN-DELAY] ", "The last login was a moment ago");
	case MAILDROP_MORE:
	case MAILDROP_LATER:
		break;
	}
	return pop3_refuse(s, "index-away", "[SYS/TEMP] ", "The store is away, try again later");
}

static enum verdict denied(struct pop3_session *s, const char *code, const char *text)
{
	pop3_set_state(s, POP3_ST_AUTH);
	if (++s->login_failures >= POP3_LOGIN_FAILURES_MAX)
		return pop3_refuse(s, "too-many-failures", code, text);
	return pop3_err(s, "%s%s (%s)", code, text, s->base.id.s);
}

static void on_login(void *arg, const struct login_answer *a)
{
	struct pop3_session *s = OBJ(pop3_session, arg);
	enum verdict v = V_NEXT;
	s->ask = NULL;
	switch (a->result) {
	case LOGIN_OK:
		v = logged_in(s, a);
		break;
	case LOGIN_DENIED:
		v = denied(s, "[AUTH] ", "Wrong name or password");
		break;
	case LOGIN_NO_SERVICE:
		v = denied(s, "[SYS/PERM] ", "POP3 is not allowed for this account");
		break;
	case LOGIN_LATER:
		v = denied(s, "[SYS/TEMP] ", "Login is not possible now, try again later");
		break;
	}
	pop3_step(s, v);
}

static enum verdict log_in(
    struct pop3_session *s, struct span user, struct span authz, struct span secret)
{
	struct login_ask ask = {
		.service = "pop3",
		.user = user,
		.authz = authz,
		.secret = secret,
		.client = s->client.addr,
		.secure = pop3_is_secure(s),
	};
	pop3_set_state(s, POP3_ST_LOGIN);
	s->ask = login_start(s->base.worker, s->base.id.s, &ask, on_login, s);
	return V_WAIT;
}

static enum verdict refuse_plaintext(struct pop3_session *s)
{
	return pop3_bad(s, pop3_offers_tls(s) ? "Passwords are taken after STLS only"
					      : "Passwords are not taken without TLS");
}

/* ---- USER, PASS -------------------------------------------------------------------------------- */

enum verdict pop3_cmd_user(struct pop3_session *s, const struct pop3_cmd *c)
{
	buf_clear(&s->name);
	if (!pop3_takes_secrets(s))
		return refuse_plaintext(s);
	if (!buf_add_span(&s->name, c->argument)) {
		buf_clear(&s->name);
		return pop3_bad(s, "Name too long");
	}
	return pop3_ok(s, "Now the password");
}

enum verdict pop3_cmd_pass(struct pop3_session *s, const struct pop3_cmd *c)
{
	if (!pop3_takes_secrets(s))
		return refuse_plaintext(s);
	if (buf_len(&s->name) == 0)
		return pop3_bad(s, "USER first");
	enum verdict v = log_in(s, buf_span(&s->name), SPAN_NONE, c->argument);
	buf_end(&s->name);
	return v;
}

/* ---- AUTH (RFC 5034) --------------------------------------------------------------------------- */

enum verdict pop3_sasl_line(struct pop3_session *s, struct span line)
{
	struct sasl_plain p;
	pop3_set_state(s, POP3_ST_AUTH);
	if (sasl_is_cancel(line))
		return pop3_bad(s, "Cancelled");
	enum verdict v = sasl_plain_parse(&p, line) == ERR_OK
			     ? log_in(s, p.authcid, p.authzid, p.secret)
			     : pop3_bad(s, "Not a response of PLAIN");
	sasl_plain_end(&p);
	return v;
}

enum verdict pop3_cmd_auth(struct pop3_session *s, const struct pop3_cmd *c)
{
	buf_end(&s->name);
	if (!pop3_takes_secrets(s))
		return refuse_plaintext(s);
	if (c->argument.n == 0) {
		/* older than RFC 5034, yet asked by clients: the list of mechanisms */
		pop3_ok(s, "Mechanisms follow");
		stream_write_span(s->io, SPAN("PLAIN\r\n.\r\n"));
		return V_NEXT;
	}
	if (sasl_mech_find(c->argument) != SASL_PLAIN)
		return pop3_bad(s, "Mechanism not offered");
	if (c->has_initial)
		return pop3_sasl_line(s, c->initial);
	stream_write_span(s->io, SPAN("+ \r\n"));
	pop3_set_state(s, POP3_ST_SASL);
	return V_NEXT;
}

/* ---- STLS (RFC 2595) --------------------------------------------------------------------------- */

enum verdict pop3_cmd_stls(struct pop3_session *s, const struct pop3_cmd *c)
{
	if (!pop3_offers_tls(s))
		return pop3_bad(s, "TLS cannot be started here");
	if (s->utf8)
		return pop3_bad(s, "STLS comes before UTF8");
	buf_end(&s->name); /* nothing said in the clear counts */
	pop3_ok(s, "Begin TLS");
	pop3_set_state(s, POP3_ST_TLS);
	s->scan = LINE_SCAN_INIT(POP3_AUTH_LINE_MAX);
	if (stream_start_tls_server(s->io, store_worker_tls(s->base.worker, STORE_POP3)) == 0)
		return V_WAIT;
	pop3_because(s, "stls-injection");
	return V_CLOSE;
}

/* ---- XCLIENT: a multiplexor's word about the client --------------------------------------------- */

struct facts {
	struct ip_port client;
	struct ident session;
};

static bool fact_addr(struct facts *f, struct span value)
{
	if (span_istarts(value, SPAN("IPV6:")))
		value = span_from(value, 5);
	return ip_parse(value, &f->client.addr) && !ip_is_none(f->client.addr);
}

static bool fact_port(struct facts *f, struct span value)
{
	uint64_t port;
	if (!span_u64(value, UINT16_MAX, &port))
		return false;
	f->client.port = (uint16_t)port;
	return true;
}

/* Another product's session name is not one of ours: ours stays. */
static bool fact_session(struct facts *f, struct span value)
{
	(void)ident_parse(value, &f->session);
	return true;
}

static const struct {
	const char *name;
	bool (*take)(struct facts *f, struct span value);
} facts[] = {
	{ "ADDR", fact_addr },
	{ "PORT", fact_port },
	{ "SESSION", fact_session },
};

/* NAME=VALUE. What we do not know says nothing about whom we serve, and is passed over. */
static bool take_fact(struct facts *f, struct span word)
{
	struct span value = word, name = span_cut(&value, '=');
	if (value.p == NULL)
		return false;
	for (size_t i = 0; i < COUNT_OF(facts); i++)
		if (span_ieq_str(name, facts[i].name))
			return facts[i].take(f, value);
	return true;
}

enum verdict pop3_cmd_xclient(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct facts f = { s->client, s->base.id };
	struct span rest = c->argument;
	if (!s->trusted)
		return pop3_bad(s, "Your word about others is not taken");
	while (rest.n > 0) {
		struct span word = span_cut(&rest, ' ');
		if (word.n > 0 && !take_fact(&f, word))
			return pop3_bad(s, "Expected NAME=VALUE");
	}
	s->client = f.client;
	s->base.id = f.session;
	return pop3_ok(s, "Noted");
}
