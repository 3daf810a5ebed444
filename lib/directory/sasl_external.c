/* sasl_external.c - EXTERNAL (RFC 4422 appendix A): the name is the certificate's, which TLS has verified. */
#include "directory/sasl_mechanism.h"

/* The message is for whom the client wants to act: nobody, or itself. */
static enum sasl_rx take(struct sasl_server *x, struct span message)
{
	if (x->step != SASL_STEP_BEGIN || span_find(message, '\0') != SIZE_MAX ||
	    !buf_add_span(&x->authzid, message))
		return SASL_RX_BAD;
	x->step++;
	buf_add_span(&x->user, buf_span(&x->certified));
	return SASL_RX_ACCOUNT;
}

static enum sasl_rx on_account(struct sasl_server *x, const struct record *user, bool plain_allowed)
{
	return x->doomed ? SASL_RX_FAILED : SASL_RX_DONE;
}

const struct sasl_mechanism sasl_external = {
	.mech = SASL_EXTERNAL,
	.take = take,
	.account = on_account,
};
