/* ldap_template.h - search filters with places for a key in their values, as operators write them (RFC 4515): %s is the key, %u
 * its part in front of the @ (or all of it), %d its domain, %% a percent sign. Pure.
 *
 * The text becomes a tree before there is a key: that can only be a value in it, whatever bytes it has. */
#ifndef DIRECTORY_LDAP_TEMPLATE_H
#define DIRECTORY_LDAP_TEMPLATE_H

#include "base/buf.h"
#include "directory/ldap_filter.h"

enum { LDAP_TEMPLATE_TEXT_MAX = 8192 };

/* False: no filter that ldap_filter.h takes, or another letter behind a %. */
bool ldap_template_parse(struct span text, struct ldap_tree *out);
bool ldap_template_ok(struct span text); /* the same, of the text alone */

struct ldap_filled {
	struct ldap_filter nodes[LDAP_TREE_NODES_MAX],
	    root; /* what is searched for; in it nodes and text */
	struct buf text;
	size_t at[LDAP_TREE_NODES_MAX + 1],
	    n[LDAP_TREE_NODES_MAX + 1]; /* values in text; the last: root's */
};

/* The tree with the key in it, into out, whose text is to be ended. False: this key can be in no entry, or (text is over)
 * the filter becomes too long with it. */
bool ldap_template_fill(const struct ldap_tree *tree, struct span key, struct ldap_filled *out);

#endif
