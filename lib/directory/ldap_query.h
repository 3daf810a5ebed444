/* ldap_query.h - the searches that the directory makes of an LDAP server. Pure. */
#ifndef DIRECTORY_LDAP_QUERY_H
#define DIRECTORY_LDAP_QUERY_H

#include "base/buf.h"
#include "directory/directory_conf.h"

enum ldap_query {
	LDAP_Q_USER,         /* entries that may have the key as a name */
	LDAP_Q_DOMAIN,       /* entries of the domain */
	LDAP_Q_DOMAIN_USERS, /* some users whose domain it may be */
	LDAP_Q_STORE,        /* entries of the store */
	LDAP_Q_GROUP,        /* groups that may have the key as an address */
	LDAP_Q_DN,           /* the entry with this DN */
	LDAP_Q_BASE,         /* the base itself: is the server able to answer? No key */
	LDAP_Q_LIST,         /* addresses of the entries that a URL means (member_url.h) */
	LDAP_Q_COUNT
};

/* Adds the search as message `id` to out. The server compares more loosely than we do (spaces, for one):
 * what it finds is to be held against the key again. False: it does
 * not fit, or the key of LDAP_Q_LIST is no such URL. */
bool ldap_query_put(struct buf *out, int32_t id, const struct directory_conf *c, enum ldap_query q,
    struct span key);

#endif
