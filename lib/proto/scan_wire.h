/* scan_wire.h - what scanners answer: spamd (SPAMC protocol 1.5) and clamd (INSTREAM). */
#ifndef PROTO_SCAN_WIRE_H
#define PROTO_SCAN_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum {
	SPAMD_HEAD_MAX = 8192, /* of a reply of spamd */
	SPAMD_NUMBER_MAX = 16, /* of a score, as text */
	CLAMD_REPLY_MAX = 4096,
	SCAN_NAME_MAX = 120 /* of a virus */
};

enum scan_rx { SCAN_MORE, SCAN_READY, SCAN_BAD };

/* What a scanner calls what it has found, fit for a header field: cut, with ? for what is not printable ASCII. */
void scan_name_set(char name[SCAN_NAME_MAX + 1], struct span given);

/* The head of a reply of spamd. */
struct spamd_head {
	bool spam;
	int64_t score_milli; /* thousandths */
	char score[SPAMD_NUMBER_MAX], required[SPAMD_NUMBER_MAX];
	bool has_length;
	uint64_t length; /* of what follows */
};

/* input: what was received, from the reply's first byte on. READY: *eat_out bytes are the head. BAD: not such
 * a reply, or spamd tells of an error. */
enum scan_rx spamd_take_head(struct span input, struct spamd_head *out, size_t *eat_out);

/* One reply of clamd, up to its NUL or LF. name: of the virus; "" when there is none. BAD: not such a reply,
 * or clamd tells of an error. */
enum scan_rx clamd_take(struct span input, char name[SCAN_NAME_MAX + 1]);

#endif
