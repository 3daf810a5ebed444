/* priority.h - how urgent a message is: what its sender says in the header (RFC 2156, RFC 2076) or with MT-PRIORITY (RFC
 * 6710). */
#ifndef PROTO_PRIORITY_H
#define PROTO_PRIORITY_H

#include "base/span.h"

/* Levels of MT-PRIORITY. */
enum {
	PRIORITY_LEAST = -9,
	PRIORITY_MOST = 9,
	PRIORITY_HEADER_URGENT = 4,
	PRIORITY_HEADER_LOW = -4
};

enum priority_class { PRIORITY_URGENT, PRIORITY_NORMAL, PRIORITY_NONURGENT, PRIORITY_CLASSES };
/* Above 0, 0, below. */
enum priority_class priority_class_of(int level);

/* What the first field says of Priority, X-Priority, Importance, Precedence that is there, in this order: 4, 0 or -4. 0:
 * none says anything. header: the header section, or its beginning. */
int priority_of_header(struct span header);
/* "-9" ... "9", as MT-PRIORITY has it; false: it is none. */
bool priority_parse(struct span text, int *out);

#endif
