/* entry.h - one directory entry as text: a DN and pairs of attribute and value, from LDIF or LDAP alike.
 * Bounded in values and bytes. */
#ifndef DIRECTORY_ENTRY_H
#define DIRECTORY_ENTRY_H

#include "base/buf.h"
#include "base/span.h"

enum { ENTRY_VALUES_MAX = 4096, ENTRY_BYTES_MAX = 4 * 1024 * 1024 };

struct entry_value {
	size_t name_at, name_n, value_at, value_n; /* in text */
};

struct entry {
	struct buf text;       /* owned: the DN, then names and values */
	size_t dn_n;           /* the DN is the first dn_n bytes */
	struct entry_value *v; /* owned */
	size_t n, cap;
	size_t line; /* where it began, 0 when from LDAP */
};

void entry_init(struct entry *e);
void entry_end(struct entry *e);                   /* passwords may be in it: wiped */
bool entry_start(struct entry *e, struct span dn); /* empties it first; false: DN too long */

/* Options behind a ';' in the name are cut off. False: a limit is reached. */
bool entry_add(struct entry *e, struct span name, struct span value);

struct span entry_dn(const struct entry *e);

/* The value number `nth` of an attribute (any case of letters), or SPAN_NONE. Valid until the entry
 * changes. */
struct span entry_get(const struct entry *e, const char *name, size_t nth);

/* The same, one after the other: the first from place *at on, which begins with 0 and moves behind it. */
struct span entry_next(const struct entry *e, const char *name, size_t *at);

bool entry_has_class(const struct entry *e, const char *class);

#endif
