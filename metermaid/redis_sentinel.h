/* redis_sentinel.h - asks the Sentinels, one at a time, who the master is now.
 *
 * One connection to the first Sentinel that answers; the next one in the list when it does not, does not
 * know the group, or named a server that is no master. A change of master is seen at the next question:
 * within SENTINEL_URGENT_MS while the master is away, else within SENTINEL_CALM_MS. */
#ifndef METERMAID_REDIS_SENTINEL_H
#define METERMAID_REDIS_SENTINEL_H

#include "metermaid/meter_conf.h"
#include "net/dns.h"
#include "net/loop.h"

enum { SENTINEL_URGENT_MS = 200, SENTINEL_CALM_MS = 1000 };

struct redis_sentinel;
/* Comes with each answer, from the loop; master lives until it returns. */
typedef void redis_sentinel_fn(void *arg, const struct conf_hostport *master);

/* conf: rows redis_sentinel, redis_master, redis_sentinel_user, redis_sentinel_password; borrowed. */
struct redis_sentinel *redis_sentinel_new(struct loop *l, struct dns *dns,
    const struct metermaid_conf *conf, redis_sentinel_fn *fn, void *arg);
void redis_sentinel_free(struct redis_sentinel **s); /* not from its answer */
/* The master does not answer (true), or does again. */
void redis_sentinel_hurry(struct redis_sentinel *s, bool urgent);
/* The master that was named is none: the next question goes to another Sentinel. */
void redis_sentinel_doubt(struct redis_sentinel *s);

#endif
