/* queue_move.h - a message that becomes another one in the same spool (part of step 6). */
#ifndef EDGE_QUEUE_MOVE_H
#define EDGE_QUEUE_MOVE_H

#include "edge/spool_record.h"
#include "edge/smtp_out.h"
#include "net/ticket.h"

struct q_entry;
struct queue;
struct q_item;

struct move_opts {
	struct ident id;            /* queue_knows() it not yet */
	const struct q_entry *from; /* its wishes and its age go along */
	const char *sender;
	bool trusted;
	bool keeps_wishes;                  /* ENVID and RET go along: not through a list */
	unsigned stage;                     /* the last one that it has passed */
	struct spool_recipient *recipients; /* copied; what they point to lives until the answer */
	size_t recipient_n;
	struct span prefix;      /* in front of the body; copied */
	struct mail_source body; /* lives until the answer */
};

/* ERR_OK: it is in the log, and in the queue; what the caller appends now is made durable with it. Else nothing is left of
 * it. */
typedef void move_fn(void *arg, err_t err);
struct ticket *move_start(const struct move_opts *o, move_fn *fn, void *arg);

/* The same of a message that says all of itself: m without its bytes, chunk_count 0. Its recipients are copied, what they
 * and m point to lives until the answer. */
struct ticket *move_message(struct queue *q, const struct spool_message *m, struct mail_source body,
    move_fn *fn, void *arg);

/* The id of what is made of a message in one way: the same for the same. */
struct ident move_id(const struct ident *from, const char *how, unsigned which);

/* A recipient that goes on as it is. */
void move_recipient(const struct q_item *it, struct spool_recipient *out);

#endif
