/* queue.h - step 6 of 6, the job controller: everything durable that is not delivered yet.
 *
 * For each message it keeps a small entry, never the bytes. A recipient waits for its due time, is looked
 * up anew, joins a destination (a store, a mail exchanger's domain, or the relay host), and goes out
 * with the other recipients of its message for the same destination. What happened is appended to the
 * spool before it is forgotten anywhere else. */
#ifndef EDGE_QUEUE_H
#define EDGE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "directory/directory.h"
#include "edge/copy_ask.h"
#include "edge/spool.h"
#include "net/dns.h"
#include "net/loop.h"

struct queue;

struct queue_opts {
	struct loop *loop;
	struct dns *dns;
	struct directory *directory;
	const struct conf *conf; /* referenced */
	bool unsafe_no_sync;     /* unit tests only */
	size_t loaded_max;       /* bytes of messages at rest in memory; 0: 1 MiB */
};

/* Opens and replays the spool; when that fails it is tried again and again, and meanwhile nothing is
 * taken. */
struct queue *queue_new(const struct queue_opts *opts);
void queue_reload(struct queue *q, const struct conf *fresh);
void queue_free(struct queue **q);

/* No new deliveries; fn comes once from the loop when none is running. */
void queue_drain(struct queue *q, void (*fn)(void *arg), void *arg);

/* ---- for spool_serve.c ---- */

/* NULL while the spool cannot be used. */
struct spool *queue_spool(struct queue *q);
bool queue_knows(const struct queue *q, struct ident id); /* in the log, or done a while ago */
/* Nobody was promised this message. True: it will not be delivered, and is not taken any more: it was not durable yet, or not
 * there; what the log has of it in spite of that ends when it is opened anew. False: it is durable, or was before. */
bool queue_withdraw(struct queue *q, struct ident id);
bool queue_withdrew(const struct queue *q, struct ident id);
void queue_end_withdrawn(struct queue *q); /* behind a replay, before anything is delivered */
bool queue_has_room(const struct queue *q, size_t recipients);
/* When a message came that came now: a worker whose clock is far off does not make it old. */
uint64_t queue_arrival_us(const struct queue *q, uint64_t said_us);
/* A message that was just appended. Its deliveries start when it is durable. */
void queue_add(struct queue *q, log_pos pos, const struct spool_message *m);
/* The log refused with something else than ERR_NO_SPACE or ERR_BUSY: it is closed and opened anew. */
void queue_spool_broke(struct queue *q, err_t err);
/* Called whenever the spool is about to be closed: everything that refers to it must let go. */
enum queue_friend { QUEUE_SERVE, QUEUE_COPIES, QUEUE_COPIER, QUEUE_FRIENDS };
void queue_on_close(struct queue *q, enum queue_friend who, void (*fn)(void *arg), void *arg);

/* ---- for copier.c: another host keeps copies ---- */

/* Of what the queue makes itself a copy is made before it is written; c is copied; ask NULL: no more. */
void queue_copy_to(struct queue *q, const struct spool_copier *c);
/* Nothing is delivered until it is said again with false. */
void queue_hold_all(struct queue *q, bool hold);
/* Is it in the queue and not at its end? */
bool queue_owes(const struct queue *q, struct ident id);
/* It is this other host's now: here it ends without a word to anybody, but for recipients that are being delivered at this
 * moment. False: it cannot be read now. */
bool queue_hand_over(struct queue *q, struct ident id, const char *host);
/* A message that has not ended is marked as one that the other host has a copy of; a new shelf has no marks. */
void queue_set_copied(struct queue *q, struct ident id);
void queue_forget_copies(struct queue *q); /* no mark is left */
/* Where in the log those without a mark stand, oldest first, of those behind `after`: some of them, at most max (at least 2);
 * 0: none. */
size_t queue_uncopied(const struct queue *q, log_pos after, log_pos *out, size_t max);
struct q_entry;
/* The message with this id, whose record stands there. NULL: it has ended, or has a mark, or cannot be read now. */
const struct q_entry *queue_uncopied_entry(struct queue *q, struct ident id, log_pos pos);
/* Called when a message has reached its end here, and that stands in the log. */
void queue_on_done(struct queue *q, void (*fn)(void *arg, struct ident id), void *arg);

/* ---- for the control socket ---- */

/* words behind "queue": list, summary, hold, release, retry, reroute, bounce, delete with a filter
 * (queue_filter.h), show ID, cat ID [OFFSET]. Appends one JSON value; false: no such command.
 *	list, show	array of {"id","sender","recipient","state","destination","age_s","attempts","next_s",
 *			"reason","bytes"} of what is not ended; show: of every recipient, and more members.
 *			A list of more than 5000 recipients or 8 s ends with {"more":true,"after":ID}: the words
 *			after=ID have it go on there; ID "": it has to begin anew
 *	summary		array of {"channel","destination","reason","recipients","bytes","oldest_s"}, and of
 *			{"more":true,"recipients"} when there was no time for all: so many were counted
 *	tlsrpt-send	{"order","policies"}: reports of TLS are sent now; tlsrpt-show: rows of what is counted
 *	cat		{"bytes","next","base64"}: a piece from OFFSET on, the next begins at "next"
 *	orders		{"order","recipients","more"}: more: say it again, one order ends so many
 *	else		{"error"} */
struct queue_late {
	uint32_t (*begin)(void *arg);
	void (*end)(void *arg, uint32_t ask, struct span json);
	void *arg;
};
/* A long queue is gone over in many rounds: then late->begin() is called, nothing is appended, and late->end() has the
 * answer, after 8 s at the latest with what was found so far. late NULL: everything at once, for tests. */
bool queue_control(struct queue *q, const char *const *words, size_t n,
    const struct queue_late *late, struct buf *out);
size_t queue_recipients(const struct queue *q);

#endif
