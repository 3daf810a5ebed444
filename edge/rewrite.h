/* rewrite.h - addresses that become others by rule: blocks `rewrite NAME { ... }`, looked at in the order of the file.
 *
 * Made once per load of the settings. Pure: an address and facts in, an address out. The first rule whose pattern
 * fits decides, unless its template gives no address; `again` goes through the rules once more, at most
 * REWRITE_PASSES_MAX times: an address that then still changes goes round, and is left as it was. */
#ifndef EDGE_REWRITE_H
#define EDGE_REWRITE_H

#include "conf/conf.h"
#include "proto/smtp_path.h"

struct edge_conf;
struct rewrite;

enum { REWRITE_PASSES_MAX = 10 };

/* Which address it is; of the option `address`. */
enum rewrite_kind {
	REWRITE_SENDER = 1,
	REWRITE_RECIPIENT = 2,
	REWRITE_FROM = 4, /* From, Sender, Reply-To */
	REWRITE_TO = 8    /* To, Cc */
};

struct rewrite_facts {
	const char *listener;
	bool ours; /* the client has authenticated, or is of a network that may relay */
};

/* NULL: there is no rule. c outlives it. */
struct rewrite *rewrite_new(const struct edge_conf *c);
void rewrite_free(struct rewrite **r);

/* Is there a rule that could be for such an address? r may be NULL. */
bool rewrite_wants(const struct rewrite *r, unsigned kinds, const struct rewrite_facts *f);

/* The name of the last rule that has changed *address, or NULL: it is as it was. */
const char *rewrite_address(const struct rewrite *r, enum rewrite_kind kind,
    const struct rewrite_facts *f, struct smtp_path *address);

/* The header section of a message with its addresses rewritten, into out. Bytes of fields in which nothing
 * changes stay, and so do comments and names in the others. Returns how many addresses have changed; 0: out is of
 * no use. A field whose lines would become too long is left alone. */
size_t rewrite_header(
    const struct rewrite *r, const struct rewrite_facts *f, struct span header, struct buf *out);

/* For edge_conf_check(). */
void rewrite_check(const struct edge_conf *c, struct conf_diag *d);

#endif
