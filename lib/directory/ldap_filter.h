/* ldap_filter.h - the text of a search filter (RFC 4515) as a tree, and whether an entry fits it. Pure.
 *
 * Taken: & | ! = =* and substrings. Not taken: >= <= ~= and extensible matches. Bounded in nodes, depth and
 * bytes. */
#ifndef DIRECTORY_LDAP_FILTER_H
#define DIRECTORY_LDAP_FILTER_H

#include "directory/entry.h"
#include "directory/ldap_msg.h"

enum {
	LDAP_TREE_NODES_MAX = 64,
	LDAP_TREE_PARTS_MAX = 24,
	LDAP_TREE_DEPTH_MAX = LDAP_FILTER_DEPTH_MAX - 1,
	LDAP_TREE_TEXT_MAX = 2048
};

struct ldap_tree {
	struct ldap_filter nodes[LDAP_TREE_NODES_MAX]; /* parts of nodes; the root is apart */
	size_t n;
	char text[LDAP_TREE_TEXT_MAX]; /* names and values */
	size_t text_n;
	struct ldap_filter root;
};

/* False: it is no filter of this kind, or too large. The tree points into itself: do not copy it. */
bool ldap_tree_parse(struct span text, struct ldap_tree *out);
/* Does the entry fit? Values are compared without regard to ASCII case. */
bool ldap_tree_fits(const struct ldap_filter *f, const struct entry *e);

#endif
