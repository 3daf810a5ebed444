/* out_conf.h - what the edge section says of outgoing connections, as a pool wants it. */
#ifndef EDGE_OUT_CONF_H
#define EDGE_OUT_CONF_H

#include "conf/conf.h"
#include "edge/edge_conf.h"
#include "edge/out_pool.h"

enum out_user {
	OUT_FOR_COMMIT, /* remembers dead hosts itself; out_connections for each */
	OUT_FOR_QUEUE   /* destinations have their own memory; queue_concurrency for each */
};

/* A pool with the configuration's settings. */
struct out_pool *out_conf_new(
    struct loop *l, struct dns *dns, const struct conf *conf, enum out_user who);
/* The same for a pool that is there: holds for connections made from now on. */
void out_conf_set(struct out_pool *p, const struct conf *conf, enum out_user who);
/* TLS towards to (whose tls is not looked at). require_tls: always, except to a store on this host. */
enum out_tls out_conf_tls(const struct edge_conf *c, const struct out_target *to, bool require_tls);
/* Can the TLS settings of outgoing connections be used? False: a sentence is in why. */
bool out_conf_tls_ok(const struct conf *conf, struct buf *why);

#endif
