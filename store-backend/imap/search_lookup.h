/* search_lookup.h - what a text index spares a SEARCH: messages that cannot have the text of a key are not read. */
#ifndef STORE_IMAP_SEARCH_LOOKUP_H
#define STORE_IMAP_SEARCH_LOOKUP_H

#include "store-backend/imap/search.h"
#include "store-backend/text_index.h"

enum { LOOKUP_KEYS_MAX = 8 }; /* of one search; the rest is looked for in every message */

struct search_lookup;

/* For the life of a search. Never NULL: without an index everything may match. key: copied, but for its path. */
struct search_lookup *search_lookup_new(const struct text_index_key *key);
void search_lookup_free(struct search_lookup **l);
/* May the message have the text of this key (KEY_BODY, KEY_TEXT)? The first question about a window of uids reads it. */
bool search_lookup_may(struct search_lookup *l, const struct search_node *n, uint32_t uid);
/* Would an index have known anything of such a key? */
bool search_lookup_knows(const struct search_node *n);

#endif
