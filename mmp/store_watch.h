/* store_watch.h - the stores that logins of this worker have reached: which are alive, and is this host fit to take clients?
 *
 * Beside route.c (step 4 of 5). A store that has failed is dead until a login comes through, or until we have asked it
 * ourselves, as soon as its breaker (backend_health.h) lets one try: it need only greet, and begin TLS where that is
 * due. So a host that a balancer sends nobody learns of a store's return too. A dead store that no login has wanted for an
 * hour is forgotten: it has been renamed or is gone. */
#ifndef MMP_STORE_WATCH_H
#define MMP_STORE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/ip.h"

#include "mmp/worker.h"

struct store_watch;

struct store_watch *store_watch_new(struct mmp *m, size_t stores_max);
void store_watch_free(struct store_watch **w); /* questions to stores end */

/* A store, as one connection met it; for the call only. */
struct store_met {
	const struct mmp_setup *setup;
	enum mmp_protocol protocol;
	const char *store, *host; /* the value of mailHost, where that is */
	uint16_t port;
	struct ip_port addr;
	struct span key; /* of its breaker: "host:port" */
	const char *id;  /* of the session, for the log; NULL: none */
};
void store_watch_good(struct store_watch *w, const struct store_met *at);
void store_watch_bad(
    struct store_watch *w, const struct store_met *at, err_t err, const char *detail);
/* A login would have it, and was not sent there because it is dead. */
void store_watch_wanted(struct store_watch *w, const struct store_met *at);
/* Other settings: stores that they name (blocks `store`, submission_relays) are asked what they can do before a login,
 * for each protocol that is served, so that clients are shown what all have before anybody was there: a few at a time,
 * over the store's own TLS; one that is away at growing intervals, and no login is kept from it for that. Until it has said,
 * it does not count; what it said before counts on while it is away. */
void store_watch_configured(struct store_watch *w);
/* The line in the log alone. */
void store_watch_log_failed(const struct store_met *at, err_t err, const char *detail);

/* By ready_stores, over all workers of this host, in each protocol by itself: a store that none has ever reached does not count. */
bool store_watch_ready(const struct mmp *m);

#endif
