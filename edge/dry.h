/* dry.h - what would be answered to a client, sender and recipient? A dry run: a real session of this worker with a
 * client of our own, up to RCPT, whose decision records are the answer.
 *
 * The session asks the DNS, the directory and (verify_at_store) stores as any other. It counts nothing: MeterMaid,
 * policy services and filters are not asked, delays are not kept, nothing is logged above debug, and no message
 * follows. */
#ifndef EDGE_DRY_H
#define EDGE_DRY_H

#include "edge/worker.h"

struct session;

enum { DRY_RECIPIENTS_MAX = 8, DRY_WORD_MAX = 512 };

struct dry_ask {
	struct ip_addr client;
	const char *listener;      /* NULL: the first one of role mx, else the first */
	const char *helo, *sender; /* sender: "" is the null sender */
	const char *user;          /* taken for one who has authenticated, or NULL */
	const char *recipients[DRY_RECIPIENTS_MAX];
	size_t n;
};

/* Words as on the command line: --ip A --helo H --from F --rcpt R [--rcpt R ...] [--listener L] [--user U].
 * NULL: good; else why not (a constant). out points into the words. */
const char *dry_parse(const char *const *words, size_t n, struct dry_ask *out);

/* json: an array of checks, as edge_explain() writes it. Comes once, from the loop, within DRY_MS. NULL: it cannot
 * be started; *why_out says why. */
typedef void dry_fn(void *arg, uint32_t id, struct span json);
struct dry *dry_start(struct edge *e, const struct dry_ask *ask, const char **why_out);
/* Who gets the answer; at once after dry_start(). */
void dry_answer_to(struct dry *d, dry_fn *fn, void *arg, uint32_t id);
/* The worker goes: no answer. */
void dry_free_all(struct edge *e);

/* For session.c and mail.c: the session is there; a record is whole; the session has ended. */
void dry_session(struct dry *d, struct session *s);
void dry_keep_mail(struct dry *d, const struct record *r);
void dry_keep_session(struct dry *d, const struct record *r);
void dry_session_gone(struct dry *d);

#endif
