/* parts_internal.h - the objects behind parts.h; for parts.c and parts_way.c only. */
#ifndef EDGE_PARTS_INTERNAL_H
#define EDGE_PARTS_INTERNAL_H

#include "base/buf.h"
#include "base/map.h"
#include "edge/commit_unit.h"
#include "edge/parts.h"
#include "edge/shape.h"

#define parts_MAGIC 0x9a275001u
#define part_MAGIC 0x9a275002u

struct parts;

struct part {
	uint32_t magic;
	struct parts *all;
	struct transaction *t;     /* owned, but for its body when that is the mail's */
	const struct shape *shape; /* what its body was made by; NULL: the mail's own */
	struct ticket *commit;     /* owned */
};

/* Whose outcome a recipient of the mail shares in. */
struct share {
	size_t recipient; /* of the mail */
	struct part *part;
	size_t at; /* in the part's transaction */
};

struct parts {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct parts_opts opts;
	struct transaction *t;    /* borrowed */
	struct ticket *ask;       /* owned: is the sender's domain ours? */
	struct part **parts;      /* owned */
	size_t part_n, open;      /* of them so many without an answer */
	struct commit_unit *unit; /* owned; NULL: there is one part */
	struct share *shares;     /* owned */
	size_t share_n;
	struct buf approvals; /* owned: fields of the message that give passwords */
	bool failed;          /* a part could not be made */
	struct map *known;    /* keys -> share index + 1: marks of the message, and who has it */
	char srs_sender[SMTP_PATH_SIZE]; /* "": the sender is not rewritten */
	struct soon soon;
	void (*fn)(void *arg);
	void *arg;
};

/* How the mail goes to a recipient. */
struct way {
	const char *sender;
	const char *mark;          /* fields in front; NULL: none */
	const char *hold;          /* why it is held; NULL: it is not */
	bool own_sender;           /* not the client's, but one of the site's choice */
	bool rewritten;            /* by SRS */
	const struct shape *shape; /* what changes it, or NULL */
};

/* parts_way.c: the transaction for one more recipient who gets the mail in this way, which has room for it. A body of its own
 * that cannot be made sets x->failed. */
struct part *part_for(struct parts *x, const struct way *w);
void part_free(struct part *p);

#endif
