/* redis_link.h - one connection to Redis that heals itself; checked access to replies.
 *
 * While it is not up, redis_link_call() answers false and the caller decides at once. A server that
 * accepts but does not answer is given up after REDIS_STUCK_MS, and everything outstanding is answered
 * as lost. Reconnects with a jittered, growing pause. */
#ifndef METERMAID_REDIS_LINK_H
#define METERMAID_REDIS_LINK_H

#include "conf/conf.h"
#include "metermaid/meter_conf.h"
#include "net/dns.h"
#include "net/loop.h"

struct redis_link;

enum {
	REDIS_STUCK_MS = 1000,
	REDIS_CONNECT_MS = 3000,
	REDIS_VALUES_MAX = 4096,
	REDIS_WORDS_MAX = 5120
};

/* conf: rows redis, redis_user, redis_password, redis_db; borrowed for the life of the link. */
struct redis_link *redis_link_new(
    struct loop *l, struct dns *dns, const struct metermaid_conf *conf);
/* fn comes each time the link is up again, before anything is sent over it. */
void redis_link_on_up(struct redis_link *l, void (*fn)(void *arg), void *arg);
void redis_link_free(struct redis_link **l); /* outstanding calls are answered as lost, now */
bool redis_link_is_up(const struct redis_link *l);

enum redis_got { REDIS_VALUES, REDIS_NOSCRIPT, REDIS_LOST };
struct redis_value {
	int64_t n;
	struct span text; /* p NULL: it is a number, or nothing (n 0) */
};
struct redis_reply {
	enum redis_got got;
	const struct redis_value *v; /* REDIS_VALUES: one, or those of an array */
	size_t n, texts;             /* how many; how many of them are no numbers */
};
typedef void redis_fn(void *arg, const struct redis_reply *reply);

/* Words are copied. False: not up; fn will not come. Else fn comes exactly once, from the loop (or
 * from redis_link_free()). */
bool redis_link_call(
    struct redis_link *l, const struct span *words, size_t n, redis_fn *fn, void *arg);

/* What was called is written now, not when the loop says so. Calls may be answered as lost inside. */
void redis_link_push(struct redis_link *l);

#endif
