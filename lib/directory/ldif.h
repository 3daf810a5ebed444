/* ldif.h - LDIF content records (RFC 2849), entry by entry out of a text in memory. Pure.
 *
 * Folded lines, comments, base64 values, CRLF and LF are understood; values may be plain UTF-8 as
 * slapadd takes them. Refused: change records, values by URL (`:<`), NUL, bare CR, and a last line without
 * its line end (most likely a file cut off while it is written). */
#ifndef DIRECTORY_LDIF_H
#define DIRECTORY_LDIF_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"
#include "directory/entry.h"

struct ldif {
	struct span rest;             /* not yet read */
	size_t line;                  /* number of the line that comes next, from 1 */
	bool begun;                   /* past the place where `version:` may stand */
	struct buf unfolded, decoded; /* owned: work space */
	const char *why;              /* after LDIF_BAD: reason ... */
	size_t why_line;              /* ... and line */
};

enum ldif_result { LDIF_ENTRY, LDIF_END, LDIF_BAD };

/* text is borrowed until ldif_end(). */
void ldif_init(struct ldif *l, struct span text);
void ldif_end(struct ldif *l);

/* Fills e with the next entry. After LDIF_END or LDIF_BAD nothing more is to be asked. */
enum ldif_result ldif_next(struct ldif *l, struct entry *e);

#endif
