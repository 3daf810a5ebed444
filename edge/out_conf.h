/* out_conf.h - what the edge section says of outgoing connections, as a pool wants it. */
#ifndef EDGE_OUT_CONF_H
#define EDGE_OUT_CONF_H

#include "conf/conf.h"
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
/* Can the TLS settings of outgoing connections be used? False: a sentence is in why. */
bool out_conf_tls_ok(const struct conf *conf, struct buf *why);

#endif
