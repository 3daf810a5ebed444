/* redis_conn.h - one connection to a Redis or a Sentinel, from its name to its end; checked replies.
 *
 * A server that accepts but does not answer is given up after REDIS_STUCK_MS. However it ends, all that
 * is outstanding is answered as lost, then on_end comes, once and from the loop. */
#ifndef METERMAID_REDIS_CONN_H
#define METERMAID_REDIS_CONN_H

#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"

enum {
	REDIS_STUCK_MS = 1000,
	REDIS_CONNECT_MS = 3000, /* the name looked up and the connection made */
	REDIS_VALUES_MAX = 4096,
	REDIS_WORDS_MAX = 5120
};

/* REDIS_LOST: no answer came, or an error that the owner took for none. */
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

struct redis_conn;
struct redis_conn_owner {
	void (*on_open)(void *arg);
	/* The connection is dead: redis_conn_free() it, here or later. */
	void (*on_end)(void *arg, const char *why);
	/* What an error of the server counts as; anything else that is no answer is REDIS_LOST and ends
	 * the connection. */
	enum redis_got (*on_error)(void *arg, struct span text);
	void *arg;
};

/* to: a name, an address or /a/unix/socket; its port must be given. */
struct redis_conn *redis_conn_new(struct loop *l, struct dns *dns, const struct conf_hostport *to,
    const struct redis_conn_owner *owner);
/* Outstanding calls are answered as lost, now; on_end does not come. Not from an answer of its own. */
void redis_conn_free(struct redis_conn **c);
bool redis_conn_is_open(const struct redis_conn *c);

/* Words are copied. False: not open; fn will not come. Else fn comes exactly once, from the loop (or
 * from redis_conn_free()). */
bool redis_conn_call(
    struct redis_conn *c, const struct span *words, size_t n, redis_fn *fn, void *arg);
/* It is to end, soon. why is copied; the first one counts. */
void redis_conn_drop(struct redis_conn *c, const char *why);
/* What was called is written now, not when the loop says so. Calls may be answered as lost inside. */
void redis_conn_push(struct redis_conn *c);

#endif
