/* ldap_pool.h - the connections for one purpose (searches, or binds), and who waits for them.
 *
 * Requests wait in order for a connection with room. The best server that is up is used; one that comes back is
 * returned to, and connections to lesser ones retire. What a lost connection carried is asked again elsewhere,
 * a few times. While every server is down each request is worth a try of all of them. */
#ifndef DIRECTORY_LDAP_POOL_H
#define DIRECTORY_LDAP_POOL_H

#include "directory/ldap_conn.h"

struct ldap_pool;

/* servers: borrowed, longer-lived. A pool for searches connects at once and stays so. */
struct ldap_pool *ldap_pool_new(struct ldap_servers *servers, enum ldap_role role);
void ldap_pool_free(struct ldap_pool **p); /* no request is left */

/* r->ops is set. done() comes once, from the loop, at the latest after deadline_ms. */
void ldap_pool_ask(struct ldap_pool *p, struct ldap_req *r, uint64_t deadline_ms);

/* Forgets a request; fine when it is not under way. */
void ldap_pool_forget(struct ldap_req *r);

/* Is there a connection that is ready? */
bool ldap_pool_is_up(const struct ldap_pool *p);

#endif
