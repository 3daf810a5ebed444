/* content.h - what one reading of the LDIF file holds: records by key, built up entry by entry. */
#ifndef DIRECTORY_CONTENT_H
#define DIRECTORY_CONTENT_H

#include "directory/record.h"

struct content;

struct content *content_new(const struct directory_conf *conf);
void content_free(struct content **c);

/* NULL, or why the entry (a constant) cannot be taken: then the whole content is of no use. Entries that
 * are neither user, domain nor store are passed over. */
const char *content_add(struct content *c, const struct entry *e);

/* Groups name searches: when every entry was added and this is true, every entry is to be shown once more with
 * content_search(), and then content_found() keeps what was found. */
bool content_wants_search(const struct content *c);
void content_search(struct content *c, const struct entry *e);
void content_found(struct content *c);

/* *record_out: a reference for the caller. UNKNOWN: two entries claim the key. */
enum answer content_look(
    const struct content *c, enum record_kind kind, struct span key, struct record **record_out);

/* Entries of a kind. */
size_t content_count(const struct content *c, enum record_kind kind);

#endif
