/* sasl_turn.c - PLAIN and LOGIN, line by line (step 3 of 5, between front_*.c and authenticate.c). */
#include "mmp/sasl_turn.h"

#include "mmp/authenticate.h"

const char sasl_turn_mechs[] = "PLAIN LOGIN";

bool sasl_turn_begin(struct sasl_turn *t, struct span mechanism)
{
	enum sasl_mech mech = sasl_mech_find(mechanism);
	if (mech != SASL_PLAIN && mech != SASL_LOGIN)
		return false;
	t->mech = mech;
	sasl_login_init(&t->login);
	return true;
}

void sasl_turn_end(struct sasl_turn *t)
{
	if (sasl_turn_active(t))
		sasl_login_end(&t->login);
	t->mech = SASL_UNKNOWN;
}

const char *sasl_turn_prompt(const struct sasl_turn *t)
{
	return t->mech == SASL_LOGIN ? sasl_login_prompt(&t->login) : "";
}

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

static enum sasl_turn_rx take_login(
    struct sasl_turn *t, struct session *s, struct span line, enum verdict *verdict_out)
{
	if (sasl_login_take(&t->login, line) != ERR_OK)
		return SASL_TURN_BAD;
	if (t->login.step != SASL_LOGIN_DONE)
		return SASL_TURN_PROMPT;
	*verdict_out = authenticate_start(s, buf_span(&t->login.name), buf_span(&t->login.secret));
	return SASL_TURN_STARTED;
}

enum sasl_turn_rx sasl_turn_take(
    struct sasl_turn *t, struct session *s, struct span line, enum verdict *verdict_out)
{
	enum sasl_turn_rx rx;
	if (sasl_is_cancel(line))
		rx = SASL_TURN_CANCEL;
	else if (t->mech == SASL_PLAIN)
		rx = take_plain(s, line, verdict_out);
	else
		rx = take_login(t, s, line, verdict_out);
	if (rx != SASL_TURN_PROMPT)
		sasl_turn_end(t);
	return rx;
}
