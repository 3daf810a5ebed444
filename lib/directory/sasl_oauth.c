/* sasl_oauth.c - OAUTHBEARER (RFC 7628) and XOAUTH2: a token instead of a password.
 *
 * A token that is refused goes the same way as a good one until the account is known, so that the attempt counts;
 * then the client gets the error as a challenge, answers with anything, and has failed. */
#include "proto/oauth.h"

#include "directory/oauth_check.h"
#include "directory/sasl_mechanism.h"

enum step { STEP_TOKEN = SASL_STEP_BEGIN, STEP_ERROR };

static enum sasl_rx check_token(struct sasl_server *x, const struct oauth_message *m)
{
	const char *fault = oauth_check_token(x->oauth, m->token, &x->user);
	buf_add_span(&x->authzid, m->user);
	if (fault == NULL)
		return SASL_RX_ACCOUNT;
	x->doomed = true;
	buf_clear(&x->user);
	buf_add_span(&x->user, m->user.n > 0 ? m->user : SPAN("unknown"));
	return SASL_RX_ACCOUNT;
}

static enum sasl_rx take(
    struct sasl_server *x, struct span message, err_t (*parse)(struct oauth_message *, struct span))
{
	struct oauth_message m;
	if (x->step == STEP_ERROR)
		return SASL_RX_FAILED;
	return parse(&m, message) == ERR_OK ? check_token(x, &m) : SASL_RX_BAD;
}

static enum sasl_rx take_bearer(struct sasl_server *x, struct span message)
{
	return take(x, message, oauth_bearer_parse);
}

static enum sasl_rx take_xoauth2(struct sasl_server *x, struct span message)
{
	return take(x, message, oauth_xoauth2_parse);
}

static enum sasl_rx on_account(struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	if (!x->doomed)
		return SASL_RX_DONE;
	x->step = STEP_ERROR;
	oauth_check_put_error(x->oauth, &x->out);
	return SASL_RX_CHALLENGE;
}

const struct sasl_mechanism sasl_oauthbearer = {
	.mech = SASL_OAUTHBEARER,
	.take = take_bearer,
	.account = on_account,
};

const struct sasl_mechanism sasl_xoauth2 = {
	.mech = SASL_XOAUTH2,
	.take = take_xoauth2,
	.account = on_account,
};
