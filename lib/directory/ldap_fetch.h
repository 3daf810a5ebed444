/* ldap_fetch.h - one question about a user, a domain or a store, put to LDAP: the searches it takes and what
 * their answers mean. */
#ifndef DIRECTORY_LDAP_FETCH_H
#define DIRECTORY_LDAP_FETCH_H

#include "directory/backend.h"
#include "directory/ldap_pool.h"

struct ldap_fetch_ask {
	struct ldap_pool *pool; /* for searches; lives longer, like conf */
	const struct directory_conf *conf;
	struct loop *loop;
	enum record_kind kind;
	struct span key; /* copied */
};

/* fn as backend_ops.fetch: FOUND, ABSENT (a server said so, in full), UNKNOWN, or AWAY. */
struct ticket *ldap_fetch_start(const struct ldap_fetch_ask *ask, answer_fn *fn, void *arg);

#endif
