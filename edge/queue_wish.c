/* queue_wish.c - whose mail waits together: a place is one destination for each wish; beside: queue_route.c. Owns nothing. */
#include "edge/queue_internal.h"

static enum q_wish wish(bool require_tls, bool tls_optional, enum spool_report report)
{
	bool no_policy = tls_optional || report == REPORT_TLS;
	return require_tls ? WISH_TLS : no_policy ? WISH_NO_POLICY : WISH_USUAL;
}

enum q_wish wish_away(const struct spool_message *m)
{
	return wish(m->require_tls, m->tls_optional, m->report);
}

/* Stores have no policies, and nothing leaves this host on the way to a named channel. */
struct q_dest *dest_of(const struct q_entry *e, enum q_dest_kind kind, const char *name)
{
	enum q_wish w = wish(e->require_tls, e->tls_optional, e->report);
	if (kind >= DEST_CHANNEL || (kind == DEST_STORE && w == WISH_NO_POLICY))
		w = WISH_USUAL;
	return dest_get(e->queue, kind, w, name);
}
