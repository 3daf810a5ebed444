/* redis_link.h - the way to the Redis that holds the state, healing itself.
 *
 * Which server: the first of the configured ones that takes writes, the master that Sentinel names, or the
 * node of a cluster that has the keys (MOVED is followed). While none is up, redis_link_call() answers
 * false and the caller decides at once. Reconnects with a jittered, growing pause; at once when Sentinel
 * names another master. */
#ifndef METERMAID_REDIS_LINK_H
#define METERMAID_REDIS_LINK_H

#include "metermaid/meter_conf.h"
#include "metermaid/redis_conn.h"

struct redis_link;

/* Does the configuration name a Redis? */
bool redis_link_wanted(const struct metermaid_conf *conf);
/* conf: rows redis*; borrowed for the life of the link. */
struct redis_link *redis_link_new(
    struct loop *l, struct dns *dns, const struct metermaid_conf *conf);
/* fn comes each time the link is up again, before anything is sent over it. */
void redis_link_on_up(struct redis_link *l, void (*fn)(void *arg), void *arg);
void redis_link_free(struct redis_link **l); /* outstanding calls are answered as lost, now */
bool redis_link_is_up(const struct redis_link *l);

/* As redis_conn_call(): false: not up; fn will not come. Any error but NOSCRIPT is REDIS_LOST, and the
 * server is given up. */
bool redis_link_call(
    struct redis_link *l, const struct span *words, size_t n, redis_fn *fn, void *arg);
/* What it answered cannot be: it is given up. */
void redis_link_doubt(struct redis_link *l, const char *why);
void redis_link_push(struct redis_link *l); /* redis_conn_push() */

#endif
