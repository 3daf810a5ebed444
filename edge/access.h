/* access.h - the rules of who may write to whom: blocks `access NAME { ... }`, looked at for each recipient in
 * the order of the file.
 *
 * Made once per load of the settings; lists and files become sets, so that a long list costs no more than a
 * short one. Pure: facts in, a rule out. What must be asked (tables, channels) is ruling.h's. */
#ifndef EDGE_ACCESS_H
#define EDGE_ACCESS_H

#include "base/ip.h"
#include "base/span.h"
#include "conf/conf.h"

struct edge_conf;
struct edge_access_conf;
struct access;

/* Words of edge_access.action and .authenticated. */
enum access_action {
	ACCESS_ACCEPT,
	ACCESS_REFUSE,
	ACCESS_DEFER,
	ACCESS_DISCARD,
	ACCESS_REDIRECT,
	ACCESS_TAG,
	ACCESS_HOLD,
	ACCESS_TABLE
};
enum access_auth { ACCESS_AUTH_ANY, ACCESS_AUTH_YES, ACCESS_AUTH_NO };

struct access_facts {
	struct ip_addr client;
	const char *listener;
	bool authenticated;
	struct span helo, sender, recipient; /* addresses in canonical form; sender empty: <> */
};

struct access *access_new(const struct edge_conf *c); /* c outlives it */
void access_free(struct access **a);

/* The first rule from *at on whose conditions hold, but for tables, channels and names of clients; *at behind it; NULL: none. */
const struct edge_access_conf *access_next(
    const struct access *a, const struct access_facts *f, size_t *at);

/* Is this name of a client ("unknown": it has none) in the list client_name of rule number i? */
bool access_has_client_name(const struct access *a, size_t i, struct span name);

/* Does the rule look into tables: is there a value that action table could mean? */
bool access_has_table(const struct edge_access_conf *c);

/* For edge_conf_check(). */
void access_check(const struct edge_conf *c, struct conf_diag *d);

#endif
