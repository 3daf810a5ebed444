/* sasl_turn.c - SASL line by line (step 3 of 5, between front_*.c and authenticate.c).
 *
 * PLAIN and LOGIN end in a name and a password. The others are exchanges of lib/directory: in their middle the
 * account is found, as a login attempt of its own, which ends with the proof. */
#include "mmp/sasl_turn.h"

#include "base/base64.h"
#include "net/stream_bind.h"

#include "mmp/authenticate.h"
#include "mmp/session.h"

/* ---- what is on offer ------------------------------------------------------------------------- */

static bool put_certified(const struct session *s, struct buf *out)
{
	static const enum stream_name kinds[] = { STREAM_NAME_EMAIL, STREAM_NAME_COMMON };
	return stream_peer_name(s->client, kinds[s->setup->mmp->client_name], out);
}

static bool is_certified(const struct session *s)
{
	struct buf name = BUF_INIT(SASL_NAME_MAX);
	bool certified = put_certified(s, &name);
	buf_end(&name);
	return certified;
}

bool sasl_turn_offers(const struct session *s, enum sasl_mech mech)
{
	bool configured = (s->setup->mechanisms >> mech & 1) != 0;
	if (!configured || !front_takes_secrets(s))
		return false;
	if (mech == SASL_EXTERNAL)
		return is_certified(s);
	if (mech == SASL_OAUTHBEARER || mech == SASL_XOAUTH2)
		return s->setup->oauth != NULL;
	return mech != SASL_SCRAM_SHA_256_PLUS || stream_is_tls(s->client);
}

void sasl_turn_put_mechs(
    const struct session *s, struct buf *out, const char *before, const char *behind)
{
	const struct conf_strings *list = &s->setup->mmp->auth_mechanisms;
	for (size_t i = 0; i < list->n; i++) {
		enum sasl_mech mech = sasl_mech_find(span_str(list->v[i]));
		if (sasl_turn_offers(s, mech))
			buf_printf(out, "%s%s%s", before, sasl_mech_name(mech), behind);
	}
}

/* ---- begin and end ---------------------------------------------------------------------------- */

static void set_prompt(struct sasl_turn *t)
{
	buf_clear(&t->prompt);
	base64_put(&t->prompt, sasl_server_out(t->server));
}

static void begin_server(struct session *s, enum sasl_mech mech)
{
	struct sasl_turn *t = &s->sasl;
	uint8_t exporter[STREAM_BIND_LEN], end_point[STREAM_BIND_MAX];
	struct buf certified = BUF_INIT(SASL_NAME_MAX);
	if (!put_certified(s, &certified))
		buf_clear(&certified);
	bool has = stream_bind_exporter(s->client, exporter);
	size_t n = stream_bind_end_point(s->client, end_point);
	struct sasl_facts facts = {
		.hostname = s->setup->hostname,
		.plus_offered = sasl_turn_offers(s, SASL_SCRAM_SHA_256_PLUS),
		.oauth = s->setup->oauth,
		.certified = buf_span(&certified),
		.exporter = span_of(exporter, has ? sizeof exporter : 0),
		.end_point = span_of(end_point, n),
	};
	t->prompt = BUF_INIT(SASL_TEXT_MAX);
	t->server = sasl_server_new(mech, &facts);
	buf_end(&certified);
	if (sasl_server_start(t->server) == SASL_RX_CHALLENGE)
		set_prompt(t);
}

bool sasl_turn_begin(struct session *s, struct span mechanism)
{
	enum sasl_mech mech = sasl_mech_find(mechanism);
	if (mech == SASL_UNKNOWN || !sasl_turn_offers(s, mech))
		return false;
	s->sasl.mech = mech;
	if (sasl_server_knows(mech))
		begin_server(s, mech);
	else
		sasl_login_init(&s->sasl.login);
	return true;
}

void sasl_turn_end(struct sasl_turn *t)
{
	if (!sasl_turn_active(t))
		return;
	if (t->server == NULL)
		sasl_login_end(&t->login);
	sasl_server_free(&t->server);
	buf_end(&t->prompt);
	t->mech = SASL_UNKNOWN;
}

const char *sasl_turn_prompt(struct sasl_turn *t)
{
	if (t->server != NULL)
		return buf_cstr(&t->prompt);
	return t->mech == SASL_LOGIN ? sasl_login_prompt(&t->login) : "";
}

/* ---- passwords -------------------------------------------------------------------------------- */

static enum sasl_turn_rx take_plain(struct session *s, struct span line, enum verdict *verdict_out)
{
	struct sasl_plain p;
	bool good = sasl_plain_parse(&p, line) == ERR_OK;
	if (good && p.authzid.n > 0 && !span_ieq(p.authzid, p.authcid))
		*verdict_out = authenticate_deny(s, p.authcid, WHY_FOREIGN_AUTHZID);
	else if (good)
		*verdict_out = authenticate_start(s, p.authcid, p.secret);
	sasl_plain_end(&p);
	return good ? SASL_TURN_STARTED : SASL_TURN_BAD;
}

static enum sasl_turn_rx take_login(struct session *s, struct span line, enum verdict *verdict_out)
{
	struct sasl_login *l = &s->sasl.login;
	if (sasl_login_take(l, line) != ERR_OK)
		return SASL_TURN_BAD;
	if (l->step != SASL_LOGIN_DONE)
		return SASL_TURN_PROMPT;
	*verdict_out = authenticate_start(s, buf_span(&l->name), buf_span(&l->secret));
	return SASL_TURN_STARTED;
}

/* ---- exchanges -------------------------------------------------------------------------------- */

/* The exchange's word, once the attempt that it belongs to runs. */
static enum verdict conclude(struct session *s, enum sasl_rx rx)
{
	sasl_turn_end(&s->sasl);
	return rx == SASL_RX_DONE ? authenticate_proven(s) : authenticate_unproven(s);
}

static enum sasl_turn_rx take_message(
    struct session *s, struct span message, enum verdict *verdict_out)
{
	struct sasl_turn *t = &s->sasl;
	enum sasl_rx rx = sasl_server_take(t->server, message);
	switch (rx) {
	case SASL_RX_CHALLENGE:
		set_prompt(t);
		return SASL_TURN_PROMPT;
	case SASL_RX_ACCOUNT:
		*verdict_out = authenticate_exchange(s, sasl_server_user(t->server));
		return SASL_TURN_STARTED;
	case SASL_RX_DONE:
	case SASL_RX_FAILED:
		*verdict_out = conclude(s, rx);
		return SASL_TURN_STARTED;
	case SASL_RX_BAD:
		break;
	}
	return SASL_TURN_BAD;
}

static enum sasl_turn_rx take_exchange(
    struct session *s, struct span line, enum verdict *verdict_out)
{
	struct buf message = BUF_INIT(SASL_MESSAGE_MAX);
	enum sasl_turn_rx rx = SASL_TURN_BAD;
	if (base64_get(line, &message))
		rx = take_message(s, buf_span(&message), verdict_out);
	buf_wipe_end(&message);
	return rx;
}

enum verdict sasl_turn_account(struct session *s)
{
	struct sasl_turn *t = &s->sasl;
	enum sasl_rx rx = sasl_server_account(t->server, s->mmp->directory, s->attempt->account);
	if (rx != SASL_RX_CHALLENGE)
		return conclude(s, rx);
	set_prompt(t);
	session_enter(s, ST_EXCHANGE);
	front_challenge(s);
	return V_READ;
}

/* ---- one line --------------------------------------------------------------------------------- */

/* The mechanism's turn is over, whatever it has come to, unless the exchange goes on. */
static void settle(struct session *s, enum sasl_turn_rx rx)
{
	bool failed = rx == SASL_TURN_BAD || rx == SASL_TURN_CANCEL;
	if (failed || (rx == SASL_TURN_STARTED && s->sasl.server == NULL))
		sasl_turn_end(&s->sasl);
	if (failed)
		authenticate_drop(s);
}

enum sasl_turn_rx sasl_turn_take(struct session *s, struct span line, enum verdict *verdict_out)
{
	enum sasl_turn_rx rx;
	if (sasl_is_cancel(line))
		rx = SASL_TURN_CANCEL;
	else if (s->sasl.server != NULL)
		rx = take_exchange(s, line, verdict_out);
	else if (s->sasl.mech == SASL_PLAIN)
		rx = take_plain(s, line, verdict_out);
	else
		rx = take_login(s, line, verdict_out);
	settle(s, rx);
	return rx;
}
