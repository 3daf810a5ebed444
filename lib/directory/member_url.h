/* member_url.h - the LDAP URLs of groups (RFC 4516): ldap:///BASE?ATTRIBUTES?SCOPE?FILTER. Pure.
 *
 * A host is not taken: the directory's own servers are asked. Attributes are passed over, it is always the
 * address that is wanted. Without a scope it is the base alone, without a filter everything. */
#ifndef DIRECTORY_MEMBER_URL_H
#define DIRECTORY_MEMBER_URL_H

#include "directory/directory_conf.h"
#include "directory/ldap_filter.h"
#include "directory/name.h"

enum member_scope { MEMBER_BASE, MEMBER_ONE, MEMBER_SUB };

struct member_url {
	char base[DN_BYTES_MAX + 1]; /* a key, as name_dn_key() makes it */
	enum member_scope scope;
	struct ldap_tree filter;
};

/* False: *why_out says why (a constant). */
bool member_url_parse(struct span text, struct member_url *out, const char **why_out);
/* Is a DN (a key) below one of group_bases, or without those below `base`? Without either everywhere is. */
bool member_dn_allowed(const struct directory_conf *c, struct span dn);
/* Does an entry belong to what the URL means? */
bool member_url_fits(const struct member_url *u, const struct entry *e);

#endif
