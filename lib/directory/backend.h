/* backend.h - what a back end of the directory can do. Two manners: a back end that knows its answers at
 * once has look(); one that must ask has fetch(), and the cache stands before it. */
#ifndef DIRECTORY_BACKEND_H
#define DIRECTORY_BACKEND_H

#include "directory/directory_conf.h"
#include "directory/record.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"

struct backend_env {
	struct loop *loop;
	struct dns *dns;
	const struct directory_conf *conf; /* lives as long as the back end */
};

struct backend {
	const struct backend_ops *ops;
};

/* record: borrowed, NULL unless found. */
typedef void answer_fn(void *arg, enum answer answer, struct record *record);

struct backend_ops {
	/* Opens in any case; what cannot work is logged and answers UNKNOWN or AWAY. */
	struct backend *(*open)(const struct backend_env *env);
	void (*close)(struct backend **b); /* every ticket must be gone */
	bool (*healthy)(const struct backend *b);

	/* key: as made by name.h. *record_out: a reference for the caller when found. */
	enum answer (*look)(
	    struct backend *b, enum record_kind kind, struct span key, struct record **record_out);
	struct ticket *(*fetch)(
	    struct backend *b, enum record_kind kind, struct span key, answer_fn *fn, void *arg);

	/* Is secret the password of the entry? FOUND: yes; ABSENT: no. NULL: by comparison only. */
	struct ticket *(*bind)(struct backend *b, const struct record *user, struct span secret,
	    answer_fn *fn, void *arg);
};

extern const struct backend_ops backend_file, backend_ldap, backend_static;

#endif
