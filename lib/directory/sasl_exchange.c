/* sasl_exchange.c - SASL line by line: base64 outside, mechanisms inside. Owns what hangs on the struct. */
#include "directory/sasl_exchange.h"

#include "base/base64.h"
#include "base/mem.h"
#include "net/stream_bind.h"

/* ---- begin and end ---------------------------------------------------------------------------- */

static void set_prompt(struct sasl_exchange *x)
{
	buf_clear(&x->prompt);
	base64_put(&x->prompt, sasl_server_out(x->server));
}

static void begin_server(struct sasl_exchange *x, const struct sasl_peer *p)
{
	uint8_t exporter[STREAM_BIND_LEN], end_point[STREAM_BIND_MAX];
	struct buf certified = BUF_INIT(SASL_NAME_MAX);
	if (!sasl_peer_certified(p, &certified))
		buf_clear(&certified);
	bool has = stream_bind_exporter(p->stream, exporter);
	size_t n = stream_bind_end_point(p->stream, end_point);
	struct sasl_facts facts = {
		.hostname = p->hostname,
		.plus_offered = sasl_offers(p, SASL_SCRAM_SHA_256_PLUS),
		.oauth = p->offer->oauth,
		.certified = buf_span(&certified),
		.exporter = span_of(exporter, has ? sizeof exporter : 0),
		.end_point = span_of(end_point, n),
	};
	x->prompt = BUF_INIT(SASL_TEXT_MAX);
	x->server = sasl_server_new(x->mech, &facts);
	buf_end(&certified);
	if (sasl_server_start(x->server) == SASL_RX_CHALLENGE)
		set_prompt(x);
}

bool sasl_exchange_begin(struct sasl_exchange *x, const struct sasl_peer *p, struct span mechanism)
{
	enum sasl_mech mech = sasl_mech_find(mechanism);
	if (mech == SASL_UNKNOWN || !sasl_offers(p, mech))
		return false;
	x->mech = mech;
	if (sasl_server_knows(mech))
		begin_server(x, p);
	else
		sasl_login_init(&x->login);
	return true;
}

void sasl_exchange_end(struct sasl_exchange *x)
{
	if (!sasl_exchange_active(x))
		return;
	if (x->server == NULL)
		sasl_login_end(&x->login);
	sasl_plain_end(&x->plain);
	sasl_server_free(&x->server);
	buf_end(&x->prompt);
	*x = (struct sasl_exchange){ .mech = SASL_UNKNOWN };
}

const char *sasl_exchange_prompt(struct sasl_exchange *x)
{
	if (x->server != NULL)
		return buf_cstr(&x->prompt);
	return x->mech == SASL_LOGIN ? sasl_login_prompt(&x->login) : "";
}

/* ---- one line --------------------------------------------------------------------------------- */

static enum sasl_exchange_rx take_plain(struct sasl_exchange *x, struct span line)
{
	struct sasl_plain *p = &x->plain;
	sasl_plain_end(p);
	if (sasl_plain_parse(p, line) != ERR_OK)
		return SASL_X_BAD;
	x->user = p->authcid;
	x->secret = p->secret;
	return p->authzid.n > 0 && !span_ieq(p->authzid, p->authcid) ? SASL_X_FOREIGN
								     : SASL_X_PASSWORD;
}

static enum sasl_exchange_rx take_login(struct sasl_exchange *x, struct span line)
{
	struct sasl_login *l = &x->login;
	if (l->step == SASL_LOGIN_DONE || sasl_login_take(l, line) != ERR_OK)
		return SASL_X_BAD;
	if (l->step != SASL_LOGIN_DONE)
		return SASL_X_PROMPT;
	x->user = buf_span(&l->name);
	x->secret = buf_span(&l->secret);
	return SASL_X_PASSWORD;
}

static enum sasl_exchange_rx told_of(struct sasl_exchange *x, enum sasl_rx rx)
{
	switch (rx) {
	case SASL_RX_CHALLENGE:
		set_prompt(x);
		return SASL_X_PROMPT;
	case SASL_RX_ACCOUNT:
		x->user = sasl_server_user(x->server);
		return SASL_X_ACCOUNT;
	case SASL_RX_DONE:
		return SASL_X_DONE;
	case SASL_RX_FAILED:
		return SASL_X_FAILED;
	case SASL_RX_BAD:
		break;
	}
	return SASL_X_BAD;
}

static enum sasl_exchange_rx take_message(struct sasl_exchange *x, struct span line)
{
	struct buf message = BUF_INIT(SASL_MESSAGE_MAX);
	enum sasl_rx rx = SASL_RX_BAD;
	if (base64_get(line, &message))
		rx = sasl_server_take(x->server, buf_span(&message));
	buf_wipe_end(&message);
	return told_of(x, rx);
}

static enum sasl_exchange_rx settle(struct sasl_exchange *x, enum sasl_exchange_rx rx)
{
	if (rx == SASL_X_BAD || rx == SASL_X_CANCEL || rx == SASL_X_DONE || rx == SASL_X_FAILED)
		sasl_exchange_end(x);
	return rx;
}

enum sasl_exchange_rx sasl_exchange_take(struct sasl_exchange *x, struct span line)
{
	enum sasl_exchange_rx rx;
	if (sasl_is_cancel(line))
		rx = SASL_X_CANCEL;
	else if (x->server != NULL)
		rx = take_message(x, line);
	else if (x->mech == SASL_PLAIN)
		rx = take_plain(x, line);
	else
		rx = take_login(x, line);
	return settle(x, rx);
}

enum sasl_exchange_rx sasl_exchange_apop(
    struct sasl_exchange *x, struct span challenge, struct span message)
{
	struct sasl_facts facts = { .hostname = "", .challenge = challenge };
	x->mech = SASL_APOP;
	x->prompt = BUF_INIT(SASL_TEXT_MAX);
	x->server = sasl_server_new(SASL_APOP, &facts);
	return settle(x, told_of(x, sasl_server_take(x->server, message)));
}

enum sasl_exchange_rx sasl_exchange_account(
    struct sasl_exchange *x, const struct directory *d, const struct account *account)
{
	return settle(x, told_of(x, sasl_server_account(x->server, d, account)));
}
