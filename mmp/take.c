/* take.c - a new worker takes over the sessions of an old one; see handover.h.
 *
 * Owns the connections to old workers, and the sessions that were not committed yet. */
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "mmp/handover.h"
#include "mmp/mmp_tables.h"
#include "mmp/pipe.h"
#include "mmp/worker.h"

enum { MESSAGES_A_TURN = 64, TOLD_MS = 1000 };

#define taking_MAGIC 0x6d6d7038u

struct taken {
	struct piped *p; /* owned; NULL: a free place */
	uint32_t seq;
};

struct taking {
	uint32_t magic;
	struct list_node link; /* in mmp->takings */
	struct mmp *mmp;
	int fd;
	struct watch *watch; /* owned */
	struct taken taken[HANDOVER_WINDOW];
	struct handover_msg reply; /* that could not be sent yet: nothing is read before */
	bool reply_due;
	struct timer told; /* so long after the last one, how many have come is logged */
	size_t sessions;   /* that were not told yet */
};

static void tell(void *arg)
{
	struct taking *t = OBJ(taking, arg);
	if (t->sessions > 0)
		log_write(
		    &mmp_events[MMP_EV_TAKEN], NULL, LOG_FIELDS(LOG_U64("sessions", t->sessions)));
	t->sessions = 0;
}

static void taking_free(struct taking *t)
{
	for (size_t i = 0; i < HANDOVER_WINDOW; i++)
		pipe_drop(&t->taken[i].p);
	tell(t);
	timer_clear(&t->told);
	watch_free(&t->watch);
	close(t->fd);
	list_remove(&t->link);
	t->magic = 0;
	mem_free(t);
}

/* The one of this offer, or a free place; NULL: there is none. */
static struct taken *find(struct taking *t, bool free_one, uint32_t seq)
{
	for (size_t i = 0; i < HANDOVER_WINDOW; i++) {
		struct taken *one = &t->taken[i];
		if (free_one ? one->p == NULL : one->p != NULL && one->seq == seq)
			return one;
	}
	return NULL;
}

/* To one that is gone there is nothing to say, but it may have said COMMIT before: what came is read to its end. */
static void reply(struct taking *t)
{
	t->reply_due = handover_send(t->fd, &t->reply) == HANDOVER_LATER;
}

/* A worker that is about to go itself takes nothing. */
static bool on_offer(struct taking *t, const struct handover_msg *msg)
{
	struct mmp *m = t->mmp;
	struct taken *place = find(t, true, 0);
	bool leaves = m->retired || m->draining;
	struct piped *p = place != NULL && !leaves ? pipe_take(m, msg->record, msg->fds) : NULL;
	handover_wipe();
	if (p != NULL)
		*place = (struct taken){ p, msg->seq };
	if (p == NULL)
		handover_close(msg);
	t->reply = (struct handover_msg){ .type = p != NULL ? HANDOVER_ACCEPT : HANDOVER_REFUSE,
		.seq = msg->seq };
	if (place != NULL)
		reply(t);
	return place != NULL;
}

static bool on_verdict(struct taking *t, const struct handover_msg *msg)
{
	struct taken *one = find(t, false, msg->seq);
	if (one == NULL)
		return false;
	if (msg->type == HANDOVER_ABORT) {
		pipe_drop(&one->p);
		return true;
	}
	struct piped *p = one->p;
	one->p = NULL;
	t->sessions++;
	timer_set(&t->told, TOLD_MS);
	metric_add(&mmp_metrics[MMP_M_TAKEN], 1);
	pipe_go_on(p);
	return true;
}

static bool on_message(struct taking *t, const struct handover_msg *msg)
{
	if (msg->type == HANDOVER_OFFER)
		return on_offer(t, msg);
	return (msg->type == HANDOVER_COMMIT || msg->type == HANDOVER_ABORT) && on_verdict(t, msg);
}

static bool read_messages(struct taking *t)
{
	struct handover_msg msg;
	for (size_t i = 0; i < MESSAGES_A_TURN && !t->reply_due; i++) {
		enum handover_io io = handover_recv(t->fd, &msg);
		if (io == HANDOVER_LATER)
			return true;
		if (io != HANDOVER_DONE || !on_message(t, &msg))
			return false;
	}
	return true;
}

static void on_ready(void *arg, unsigned events)
{
	struct taking *t = OBJ(taking, arg);
	if (t->reply_due)
		reply(t);
	if (!read_messages(t)) {
		taking_free(t);
		return;
	}
	watch_set(t->watch, t->reply_due ? WATCH_WRITE : WATCH_READ);
}

void take_begin(struct mmp *m, int take_fd)
{
	struct taking *t = MEM_NEW(struct taking);
	t->magic = taking_MAGIC;
	t->mmp = m;
	t->fd = take_fd;
	timer_init(&t->told, m->loop, tell, t);
	t->watch = watch_new(m->loop, take_fd, on_ready, t);
	watch_set(t->watch, WATCH_READ);
	list_add_tail(&m->takings, &t->link);
}

void take_end_all(struct mmp *m)
{
	while (!list_empty(&m->takings))
		taking_free(LIST_OF(struct taking, link, m->takings.next));
}
