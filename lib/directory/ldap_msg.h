/* ldap_msg.h - LDAP messages (RFC 4511): requests as bytes, bytes as answers. Pure.
 *
 * The only home of liblber, the codec of libldap. libldap's own handle is not used: it connects, polls and
 * queues by itself. Values of a filter are put as they are, as octet strings: there is no text of a filter that
 * a name could break out of. */
#ifndef DIRECTORY_LDAP_MSG_H
#define DIRECTORY_LDAP_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "directory/entry.h"

/* ---- requests: each is added to out; false: it does not fit (out is over) ---- */

enum ldap_filter_kind {
	LDAP_F_AND,
	LDAP_F_OR,
	LDAP_F_NOT, /* of its one part */
	LDAP_F_EQUAL,
	LDAP_F_ENDS, /* attr=*value */
	LDAP_F_PRESENT,
	LDAP_F_SUBSTRINGS, /* values of its parts with * between them; the first and last may be empty */
};

enum { LDAP_FILTER_DEPTH_MAX = 6 };

struct ldap_filter {
	enum ldap_filter_kind kind;
	const char *attr;
	struct span value;
	const struct ldap_filter *parts; /* borrowed; and, or, not */
	size_t n;
};

struct ldap_search {
	const char *base;
	bool subtree; /* else the base alone, or with one_level what is right below it */
	bool one_level;
	int size_max;     /* entries the server may send */
	unsigned seconds; /* time the server may take */
	const struct ldap_filter *filter;
	const char *const *attrs; /* never empty: an empty list would mean all */
	size_t attr_n;
};

bool ldap_put_search(struct buf *out, int32_t id, const struct ldap_search *s);
/* Simple bind; the copies of the secret made on the way are wiped, the one in out is the caller's. */
bool ldap_put_bind(struct buf *out, int32_t id, struct span dn, struct span secret);
bool ldap_put_starttls(struct buf *out, int32_t id);
bool ldap_put_abandon(struct buf *out, int32_t id, int32_t which);

/* ---- answers ---- */

enum ldap_frame { LDAP_FRAME_MORE, LDAP_FRAME_WHOLE, LDAP_FRAME_TOO_LONG, LDAP_FRAME_BAD };

/* Does a message stand at the front of in? WHOLE: it has *n_out bytes. TOO_LONG: it has more than max. */
enum ldap_frame ldap_frame(struct span in, size_t max, size_t *n_out);

/* The id of a message of which only the front is there; 0: not to be read. */
int32_t ldap_front_id(struct span in);

enum ldap_answer_kind {
	LDAP_A_ENTRY,
	LDAP_A_REFERENCE, /* to another server: passed over */
	LDAP_A_SEARCH,    /* end of a search */
	LDAP_A_BIND,
	LDAP_A_EXTENDED, /* StartTLS; with id 0: the server ends the connection */
	LDAP_A_OTHER,    /* intermediate answers, which nobody asked for */
};

/* Result codes that are told apart; all others decide nothing. */
enum {
	LDAP_CODE_OK = 0,
	LDAP_CODE_SIZE_LIMIT = 4,
	LDAP_CODE_NO_SUCH_OBJECT = 32,
	LDAP_CODE_WRONG_SECRET = 49,
	LDAP_CODE_BUSY = 51,
	LDAP_CODE_UNAVAILABLE = 52,
};

struct ldap_answer {
	int32_t id;
	enum ldap_answer_kind kind;
	int code;         /* SEARCH, BIND, EXTENDED */
	struct span text; /* the server's words; into the message */
	bool cut;         /* ENTRY: more values than an entry may have; it is not whole */
};

/* message: one whole message. False: no LDAP message. entry is filled for LDAP_A_ENTRY. */
bool ldap_take(struct buf *message, struct ldap_answer *out, struct entry *entry);

#endif
