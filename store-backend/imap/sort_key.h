/* sort_key.h - what SORT and THREAD (RFC 5256, RFC 5957) take from a message: bytes whose order is the order asked
 * for, the base subject, the moment it was sent. Knows no sessions. */
#ifndef STORE_IMAP_SORT_KEY_H
#define STORE_IMAP_SORT_KEY_H

#include "store-backend/imap/search.h"

enum { SORT_KEYS_MAX = 16, SORT_TEXT_MAX = 512 }; /* bytes of a text that count */

enum sort_by {
	SORT_ARRIVAL,
	SORT_CC,
	SORT_DATE,
	SORT_DISPLAYFROM,
	SORT_DISPLAYTO,
	SORT_FROM,
	SORT_SIZE,
	SORT_SUBJECT,
	SORT_TO
};

struct sort_request {
	size_t n;
	struct {
		enum sort_by by;
		bool reverse;
	} v[SORT_KEYS_MAX];
};
/* "(" [REVERSE SP] key ... ")" */
void sort_parse(struct imap_cursor *c, struct sort_request *out);

/* Appends a key: two keys of one request compare as bytes like their messages. False: out is full. */
bool sort_put_key(const struct sort_request *r, struct search_subject *of, struct buf *out);

/* RFC 5256 section 2.1 of a Subject's raw value, in UTF-8. True: it is of a reply or a forwarded message. */
bool sort_base_subject(struct span value, struct buf *out);
/* The same of a message, folded to lower case. */
bool sort_subject(struct search_subject *of, struct buf *out);
/* When it was sent, or when it came if that cannot be told. */
int64_t sort_sent(struct search_subject *of);
/* The value of a field; empty: it has none. */
struct span sort_field(struct search_subject *of, const char *name);

#endif
