/* metadata_parse.h - the arguments of GETMETADATA and SETMETADATA (RFC 5464 section 5) but for the mailbox. */
#ifndef STORE_IMAP_METADATA_PARSE_H
#define STORE_IMAP_METADATA_PARSE_H

#include "proto/imap_lex.h"
#include "store-backend/operation.h"

enum { METADATA_ENTRIES_MAX = STORE_ENTRIES_MAX, METADATA_DEPTH_ALL = UINT8_MAX };

/* One that is asked for or set. */
struct metadata_entry {
	char name[STORE_ENTRY_NAME_MAX]; /* lower case */
	uint8_t name_n;
	bool nil;
	struct span value; /* points into the command */
};

struct metadata_request {
	bool has_maxsize;
	uint32_t maxsize;
	uint8_t depth; /* 0, 1, METADATA_DEPTH_ALL */
	size_t n;
	struct metadata_entry v[METADATA_ENTRIES_MAX];
};

static inline struct span metadata_name(const struct metadata_entry *e)
{
	return span_of(e->name, e->name_n);
}

/* ["(" MAXSIZE n DEPTH d ")" SP], in front of the mailbox; out is made empty first. */
void metadata_parse_options(struct imap_cursor *c, struct metadata_request *out);
/* entry, or "(" entry ... ")": names, or with depth also "/private" and "/shared". */
void metadata_parse_names(struct imap_cursor *c, struct metadata_request *out);
/* "(" entry SP value ... ")" */
void metadata_parse_values(struct imap_cursor *c, struct metadata_request *out);

/* Is `name` the entry, or below it as far as the depth reaches? */
bool metadata_covers(
    const struct metadata_request *r, const struct metadata_entry *e, struct span name);

#endif
