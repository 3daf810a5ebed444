/* queue_move.h - what the queue makes itself becomes a message of its own spool (part of step 6): another one of a message that
 * passes a station, or a report. Where another host keeps copies, it has one of the new message before that is written here,
 * so before the old one ends and its copy is given up. */
#ifndef EDGE_QUEUE_MOVE_H
#define EDGE_QUEUE_MOVE_H

#include "edge/spool_record.h"
#include "edge/smtp_out.h"
#include "net/ticket.h"

struct queue;
struct q_entry;
struct q_item;

struct move_opts {
	struct ident id;            /* queue_knows() it not yet */
	const struct q_entry *from; /* its wishes and its age go along */
	const char *sender;
	bool trusted;
	/* ENVID and RET go along, and what SPF says of the sender: not through a list. */
	bool keeps_wishes;
	unsigned stage;                     /* the last one that it has passed */
	struct spool_recipient *recipients; /* copied; what they point to lives until the answer */
	size_t recipient_n;
	struct span prefix;      /* in front of the body; copied */
	struct mail_source body; /* lives until the answer */
};

/* ERR_OK: it is in the log, and in the queue; what the caller appends now is made durable with it. So is a message with its
 * id that has come to the queue meanwhile. Else nothing is left of it: ERR_NO_COPY (copy_loss), ERR_CANCELLED, ERR_NO_SPACE,
 * or the log's. */
typedef void move_fn(void *arg, err_t err);
struct ticket *move_start(const struct move_opts *o, move_fn *fn, void *arg);

/* The same of a message that says all of itself: m without its bytes, chunk_count 0. Its recipients are copied, what they
 * and m point to lives until the answer. */
struct ticket *move_message(struct queue *q, const struct spool_message *m, struct mail_source body,
    move_fn *fn, void *arg);

/* The same without a copy of it. */
struct ticket *move_message_alone(struct queue *q, const struct spool_message *m,
    struct mail_source body, move_fn *fn, void *arg);

/* A message of ours, whose text goes to the log in the call. */
struct move_report {
	const struct spool_message
	    *m; /* recipients are copied; their strings and its own live until the answer */
	struct span text;
	bool (*wanted)(
	    void *arg); /* asked before the message itself is written; false: ERR_CANCELLED */
};
struct ticket *move_report(struct queue *q, const struct move_report *r, move_fn *fn, void *arg);

/* Why it has to wait, in words. */
const char *move_why(err_t err);

/* The id of what is made of a message in one way: the same for the same. */
struct ident move_id(const struct ident *from, const char *how, unsigned which);

/* A recipient that goes on as it is. */
void move_recipient(const struct q_item *it, struct spool_recipient *out);

#endif
