/* deliver_wish.c - REQUIRETLS on the way to a next hop (RFC 8689 section 4.2.1); see deliver.c. Owns nothing. */
#include "edge/deliver_internal.h"
#include "edge/outcome.h"

bool wish_holds(const struct q_delivery *dl)
{
	return dl->mail.require_tls && dl->mail.sender[0] != '\0';
}

bool wish_trusts(const struct q_delivery *dl, const char *host)
{
	return dl->secure || (dl->sts != NULL && sts_allows(dl->sts, host));
}

/* It was there and does not keep the wish, or is nowhere. */
static bool is_missed(const struct out_result *r)
{
	return r->unfit || r->absent || (r->end == OUT_UNREACHED && r->tls > OUT_TLS_GOOD);
}

void wish_note(struct q_delivery *dl, const struct out_result *r)
{
	dl->may_wait = dl->may_wait || !is_missed(r);
}

static void refuse(struct outcome *o)
{
	struct outcome was = *o;
	outcome_set(o, FATE_REFUSED, 550, WISH_NO_TLS, span_str(was.text));
}

static void wait_instead(struct outcome *o)
{
	struct outcome was = *o;
	outcome_set(o, FATE_LATER, 451, "4.7.30", span_str(was.text));
}

enum out_end wish_settle(struct q_delivery *dl, const struct out_result *r)
{
	if (!wish_holds(dl) || !is_missed(r))
		return r->end;
	for (size_t i = 0; i < dl->n; i++) {
		struct outcome *o = &dl->outcomes[i];
		if (!dl->may_wait && o->fate == FATE_LATER)
			refuse(o);
		else if (dl->may_wait && strcmp(o->enhanced, WISH_NOT_KNOWN) == 0)
			wait_instead(o);
	}
	return dl->may_wait ? r->end : OUT_ANSWERED;
}
