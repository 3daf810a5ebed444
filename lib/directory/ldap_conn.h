/* ldap_conn.h - one connection to an LDAP server: made ready, carries requests, notices when the server is
 * gone. Belongs to a pool; several searches or one bind at a time. */
#ifndef DIRECTORY_LDAP_CONN_H
#define DIRECTORY_LDAP_CONN_H

#include "base/list.h"
#include "directory/ldap_msg.h"
#include "directory/ldap_servers.h"

struct ldap_conn;
struct ldap_req;
struct ldap_pool;

/* Searches are made as bind_dn; binds check passwords, so those connections change their identity. */
enum ldap_role { LDAP_SEARCHES, LDAP_BINDS };

/* AWAY: no server answered. TOO_LARGE: the answer is larger than any that is read. */
enum ldap_outcome { LDAP_ANSWERED, LDAP_TOO_LARGE, LDAP_AWAY };

struct ldap_req_ops {
	/* Adds the request to out as message id; may be called again for another connection. */
	bool (*put)(struct ldap_req *r, struct buf *out, int32_t id);
	void (*restart)(struct ldap_req *r); /* entries that came are void; NULL for a bind */
	void (*entry)(struct ldap_req *r, const struct entry *e, bool cut); /* NULL for a bind */
	/* The end; a is NULL unless ANSWERED. The request is nobody's any more and may be freed. */
	void (*done)(struct ldap_req *r, enum ldap_outcome outcome, const struct ldap_answer *a);
};

#define ldap_req_MAGIC 0x1da94e90u

/* A request, embedded in its owner, who sets ops. The other members are the pool's and the connection's. */
struct ldap_req {
	uint32_t magic;
	const struct ldap_req_ops *ops;
	struct list_node link; /* in the pool's queue or the connection's flight */
	struct ldap_pool *pool;
	struct ldap_conn *conn; /* NULL: waits */
	struct timer deadline;
	uint64_t asked_ms;
	int32_t id;
	unsigned tries;
	const char *uri; /* of the server that was asked last */
	bool own_base; /* set by the owner: noSuchObject tells of the question, not of the server */
};

/* The answer that ends it. The caller has taken it out of its list; it may be gone afterwards. */
void ldap_req_finish(struct ldap_req *r, enum ldap_outcome outcome, const struct ldap_answer *a);

/* changed: from the loop, when the connection is ready, has room again, or is lost. The connection may be
 * freed only outside of it. */
struct ldap_conn_opts {
	struct ldap_servers *servers;
	struct ldap_server *server;
	enum ldap_role role;
	void (*changed)(void *arg);
	void *arg;
};
struct ldap_conn *ldap_conn_new(const struct ldap_conn_opts *o);
void ldap_conn_free(struct ldap_conn **c); /* its requests have been taken back */

enum ldap_stage { LDAP_CONNECTING, LDAP_READY, LDAP_RETIRING, LDAP_LOST };
enum ldap_stage ldap_conn_stage(const struct ldap_conn *c);
size_t ldap_conn_rank(const struct ldap_conn *c); /* of its server */
size_t ldap_conn_load(const struct ldap_conn *c); /* requests it carries */
size_t ldap_conn_room(const struct ldap_conn *c); /* how many more it takes now */

/* Takes no new requests from now on. */
void ldap_conn_retire(struct ldap_conn *c);

/* Only while it has room. */
void ldap_conn_send(struct ldap_conn *c, struct ldap_req *r);

/* Forgets a request that it carries. A search is abandoned; a bind cannot be, so the connection is lost.
 * late: the server had its time and did not answer. */
void ldap_conn_drop(struct ldap_conn *c, struct ldap_req *r, bool late);

/* A request that a lost connection leaves behind, the latest first, or NULL. */
struct ldap_req *ldap_conn_take_back(struct ldap_conn *c);

extern const char *const ldap_role_names[];

#endif
