/* sasl_turn.c - SASL as a login attempt (step 3 of 5, between front_*.c and authenticate.c).
 *
 * PLAIN and LOGIN end in a name and a password: an attempt like any other. Of the others the attempt begins in the
 * middle, where the account is found, and ends with the proof. */
#include "mmp/sasl_turn.h"

#include "mmp/authenticate.h"
#include "mmp/session.h"

static struct sasl_peer peer_of(const struct session *s)
{
	return (struct sasl_peer){
		.offer = s->setup->sasl,
		.stream = s->client,
		.hostname = s->setup->hostname,
		.secrets = front_takes_secrets(s),
	};
}

bool sasl_turn_offers(const struct session *s, enum sasl_mech mech)
{
	struct sasl_peer peer = peer_of(s);
	return sasl_offers(&peer, mech);
}

void sasl_turn_put_mechs(
    const struct session *s, struct buf *out, const char *before, const char *behind)
{
	struct sasl_peer peer = peer_of(s);
	sasl_offer_put(&peer, out, before, behind);
}

bool sasl_turn_begin(struct session *s, struct span mechanism)
{
	struct sasl_peer peer = peer_of(s);
	return sasl_exchange_begin(&s->sasl, &peer, mechanism);
}

enum verdict sasl_turn_account(struct session *s)
{
	switch (sasl_exchange_account(&s->sasl, s->mmp->directory, s->attempt->account)) {
	case SASL_X_DONE:
		return authenticate_proven(s);
	case SASL_X_PROMPT:
		break;
	default:
		return authenticate_unproven(s);
	}
	session_enter(s, ST_EXCHANGE);
	front_challenge(s);
	return V_READ;
}

/* The exchange is over; the attempt, which copies what it needs of it, must not find it going on. */
static enum verdict start_attempt(struct session *s, enum sasl_exchange_rx rx)
{
	struct sasl_exchange x = s->sasl;
	s->sasl = (struct sasl_exchange){ .mech = SASL_UNKNOWN };
	enum verdict v = rx == SASL_X_FOREIGN ? authenticate_deny(s, x.user, WHY_FOREIGN_AUTHZID)
					      : authenticate_start(s, x.user, x.secret);
	sasl_exchange_end(&x);
	return v;
}

enum sasl_turn_rx sasl_turn_take(struct session *s, struct span line, enum verdict *verdict_out)
{
	enum sasl_exchange_rx rx = sasl_exchange_take(&s->sasl, line);
	switch (rx) {
	case SASL_X_PROMPT:
		return SASL_TURN_PROMPT;
	case SASL_X_BAD:
	case SASL_X_CANCEL:
		authenticate_drop(s);
		return rx == SASL_X_BAD ? SASL_TURN_BAD : SASL_TURN_CANCEL;
	case SASL_X_PASSWORD:
	case SASL_X_FOREIGN:
		*verdict_out = start_attempt(s, rx);
		break;
	case SASL_X_ACCOUNT:
		*verdict_out = authenticate_exchange(s, s->sasl.user);
		break;
	case SASL_X_DONE:
		*verdict_out = authenticate_proven(s);
		break;
	case SASL_X_FAILED:
		*verdict_out = authenticate_unproven(s);
		break;
	}
	return SASL_TURN_STARTED;
}

enum verdict sasl_turn_apop(struct session *s, struct span challenge, struct span message)
{
	if (sasl_exchange_apop(&s->sasl, challenge, message) == SASL_X_ACCOUNT)
		return authenticate_exchange(s, s->sasl.user);
	return s->front->complain(s, "Not a name and a digest");
}
