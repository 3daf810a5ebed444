/* table_keys.h - which keys of a table mean a client, a name or an address: in the order of access(5). Pure. */
#ifndef DIRECTORY_TABLE_KEYS_H
#define DIRECTORY_TABLE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum table_use {
	TABLE_WORD,   /* itself */
	TABLE_CLIENT, /* 192.0.2.1, 192.0.2, 192.0, 192; 2001:db8::1, 2001:db8:, 2001:db8, 2001 */
	TABLE_NAME,   /* a.example.org, then the domains above it */
	/* user+detail@example.org, user@example.org, example.org, the domains above it, user+detail@, user@; <> is
	 * the null sender */
	TABLE_ADDRESS,
	TABLE_USES
};

enum { TABLE_KEY_MAX = 400, TABLE_KEYS_MAX = 24, TABLE_PARENTS_MAX = 16 };

struct table_keys {
	struct buf text; /* owned */
	struct {
		size_t at, n; /* in text */
	} v[TABLE_KEYS_MAX];
	size_t n;
};

/* plain: domains above are keys without a dot in front. Keys are in lower case. Of a name with more than
 * TABLE_PARENTS_MAX domains above it the ones near the root count: nobody escapes a key by a deep name. What is
 * longer than TABLE_KEY_MAX has no keys. */
void table_keys_of(enum table_use use, struct span what, bool plain, struct table_keys *out);
void table_keys_end(struct table_keys *k);
struct span table_key(const struct table_keys *k, size_t i);
/* "word", "client", "name", "address"; TABLE_USES: another word. */
enum table_use table_use_of(struct span word);

#endif
