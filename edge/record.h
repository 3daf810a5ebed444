/* record.h - the decision record: what was asked about a connection or a mail, what each check answered, and
 * when. `postern explain ID` shows it.
 *
 * A record is filled while its object lives and kept by the worker afterwards, as long as there is room. */
#ifndef EDGE_RECORD_H
#define EDGE_RECORD_H

#include "base/buf.h"
#include "base/ident.h"

enum { RECORD_MAX = 8192 };

struct record {
	struct buf checks; /* JSON objects with commas between */
};

/* One check's answer, ms after the connection began. What does not fit is left out. */
void record_note(struct record *r, uint64_t ms, const char *check, struct span answer);
void record_end(struct record *r);

struct record_shelf; /* of a worker: the newest records */

struct record_shelf *record_shelf_new(size_t bytes_max);
void record_shelf_free(struct record_shelf **s);
/* Keeps a copy of a record under its id; one kept before under that id gives way. */
void record_keep(struct record_shelf *s, struct ident id, const struct record *r);
/* The checks of a kept record; empty: it is not there (any more). Valid until the next record_keep(). */
struct span record_find(const struct record_shelf *s, struct span id);

#endif
