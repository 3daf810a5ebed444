/* redis_stream.h - entries to a stream of the Redis that section metermaid names, for a program that tells what
 * happens in it. Beside metermaid.h the only header others include. */
#ifndef METERMAID_REDIS_STREAM_H
#define METERMAID_REDIS_STREAM_H

#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"

struct redis_stream;

struct redis_stream_opts {
	const char *name;         /* copied */
	uint64_t max;             /* entries it keeps, about; 0: all */
	void (*on_up)(void *arg); /* Redis is there (again); from the loop */
	/* One answer for each entry, in their order: taken, or lost. After a loss all that were added before
	 * are lost too. From the loop, or from redis_stream_free(). */
	void (*on_added)(void *arg, bool taken);
	void *arg;
};

/* Does the configuration name a Redis? */
bool redis_stream_wanted(const struct conf *c);
void redis_stream_prepare(void); /* master, before fork: metrics */
/* c is borrowed for the life of the stream. */
struct redis_stream *redis_stream_new(
    struct loop *l, struct dns *dns, const struct conf *c, const struct redis_stream_opts *opts);
void redis_stream_free(struct redis_stream **s);

bool redis_stream_is_up(const struct redis_stream *s);
/* Adds an entry with one field. False: not up, and no answer will come. */
bool redis_stream_add(struct redis_stream *s, struct span field, struct span value);
void redis_stream_push(struct redis_stream *s); /* what was added is written now */

#endif
