/* give.c - an old worker hands its sessions over to a new one; see handover.h.
 *
 * In passes over all sessions after login, a few at a time: those that cannot move now are looked at again in the next
 * pass. Owns the connection to the new worker and the offers that are not settled. */
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "mmp/handover.h"
#include "mmp/mmp_tables.h"
#include "mmp/pipe.h"
#include "mmp/worker.h"

enum {
	OFFERS_A_TURN = 32,
	ANSWERS_A_TURN = 64,
	ANSWER_MS = 5000, /* without one for so long, it will not answer */
	PASS_MS = 1000
};

#define giving_MAGIC 0x6d6d7037u

enum offer_state { OFFER_NONE, OFFER_MADE, OFFER_ACCEPTED };

struct offer {
	struct piped *p; /* NULL: it ended, or ends, here */
	uint32_t seq;
	enum offer_state state;
};

struct giving {
	uint32_t magic;
	struct mmp *mmp;
	int fd;
	struct watch *watch; /* owned */
	struct timer timer;  /* for an answer, or between passes */
	struct soon more;
	/* Owned; of full size from the start: growing would leave secrets behind. */
	struct buf record;
	struct offer offers[HANDOVER_WINDOW];
	uint32_t next_seq;
	size_t open_n; /* offers that are not settled */
	size_t left;   /* sessions of this pass still to be looked at */
	size_t given;  /* in this pass */
	bool told;     /* of those that stay */
	bool blocked;  /* the socket takes no more now */
};

static void answer_due(struct giving *g)
{
	timer_set(&g->timer, ANSWER_MS);
}

static void settle_offer(struct giving *g, struct offer *o)
{
	*o = (struct offer){ .state = OFFER_NONE };
	g->open_n--;
	answer_due(g);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void giving_free(struct giving *g)
{
	g->mmp->giving = NULL;
	for (size_t i = 0; i < HANDOVER_WINDOW; i++)
		if (g->offers[i].p != NULL)
			pipe_keep(g->offers[i].p);
	watch_free(&g->watch);
	timer_clear(&g->timer);
	soon_clear(&g->more);
	close(g->fd);
	buf_wipe_end(&g->record);
	g->magic = 0;
	mem_free(g);
}

static void give_up(struct giving *g, const char *why)
{
	if (g->mmp->piped_n > 0)
		log_write(&mmp_events[MMP_EV_GIVEN_UP], NULL,
		    LOG_FIELDS(LOG_U64("sessions", g->mmp->piped_n), LOG_STR("why", why)));
	giving_free(g);
}

/* ---- offers ----------------------------------------------------------------------------------- */

static enum handover_io say(struct giving *g, const struct handover_msg *msg)
{
	enum handover_io io = handover_send(g->fd, msg);
	g->blocked = io == HANDOVER_LATER;
	return io;
}

static struct offer *free_offer(struct giving *g)
{
	for (size_t i = 0; i < HANDOVER_WINDOW; i++)
		if (g->offers[i].state == OFFER_NONE)
			return &g->offers[i];
	return NULL;
}

/* False: the other side is gone. */
static bool offer_one(struct giving *g, struct piped *p)
{
	struct offer *o = free_offer(g);
	struct handover_msg msg = { .type = HANDOVER_OFFER, .seq = g->next_seq };
	enum handover_io io = HANDOVER_DONE;
	CHECK(o != NULL);
	if (pipe_offer(p, &o->p, &g->record, msg.fds)) {
		msg.record = buf_span(&g->record);
		io = say(g, &msg);
		if (io == HANDOVER_DONE) {
			o->seq = g->next_seq++;
			o->state = OFFER_MADE;
			g->open_n++;
		} else {
			pipe_keep(p);
		}
	}
	mem_wipe((char *)(uintptr_t)buf_span(&g->record).p, buf_len(&g->record));
	buf_clear(&g->record);
	return io != HANDOVER_GONE;
}

static void tell_of_those_that_stay(const struct mmp *m)
{
	size_t n[PIPE_STAYS];
	if (m->piped_n == 0)
		return;
	pipe_count_stays(m, n);
	log_write(&mmp_events[MMP_EV_STAY], NULL,
	    LOG_FIELDS(LOG_U64("sessions", m->piped_n), LOG_U64("tls", n[PIPE_STAYS_TLS]),
		LOG_U64("half_closed", n[PIPE_STAYS_HALF_CLOSED]),
		LOG_U64("ending", n[PIPE_STAYS_ENDING])));
}

static void end_pass(struct giving *g)
{
	struct mmp *m = g->mmp;
	if (g->given > 0)
		log_write(&mmp_events[MMP_EV_GIVEN], NULL,
		    LOG_FIELDS(LOG_U64("sessions", g->given), LOG_U64("left", m->piped_n)));
	if (!g->told)
		tell_of_those_that_stay(m);
	g->told = true;
	g->given = 0;
	timer_set(&g->timer, PASS_MS);
}

/* The first of the list goes to its end: so a pass sees each once. */
static bool offer_some(struct giving *g)
{
	struct list_node *piped = &g->mmp->piped, *n;
	for (size_t i = 0; i < OFFERS_A_TURN && g->left > 0 && !g->blocked; i++) {
		if (g->open_n == HANDOVER_WINDOW || (n = list_pop(piped)) == NULL)
			return true;
		list_add_tail(piped, n);
		g->left--;
		if (!offer_one(g, pipe_of_node(n)))
			return false;
	}
	return true;
}

/* ---- answers ---------------------------------------------------------------------------------- */

/* An offer that was accepted: from here on it is the other's, unless it ended first. False: gone. */
static bool commit(struct giving *g, struct offer *o)
{
	bool ours = o->p == NULL;
	enum handover_io io =
	    say(g, &(struct handover_msg){
		       .type = ours ? HANDOVER_ABORT : HANDOVER_COMMIT, .seq = o->seq });
	if (io == HANDOVER_LATER)
		return true;
	if (io != HANDOVER_DONE)
		return false;
	struct piped *p = o->p;
	settle_offer(g, o);
	if (ours)
		return true;
	g->given++;
	metric_add(&mmp_metrics[MMP_M_GIVEN], 1);
	pipe_give(p);
	return true;
}

static bool commit_accepted(struct giving *g)
{
	for (size_t i = 0; i < HANDOVER_WINDOW && !g->blocked; i++)
		if (g->offers[i].state == OFFER_ACCEPTED && !commit(g, &g->offers[i]))
			return false;
	return true;
}

static bool on_answer(struct giving *g, const struct handover_msg *msg)
{
	size_t i = 0;
	while (i < HANDOVER_WINDOW &&
	       (g->offers[i].state != OFFER_MADE || g->offers[i].seq != msg->seq))
		i++;
	if (i == HANDOVER_WINDOW)
		return false;
	struct offer *o = &g->offers[i];
	if (msg->type == HANDOVER_ACCEPT) {
		o->state = OFFER_ACCEPTED;
		return true;
	}
	if (msg->type != HANDOVER_REFUSE)
		return false;
	if (o->p != NULL)
		pipe_keep(o->p);
	settle_offer(g, o);
	return true;
}

static bool read_answers(struct giving *g)
{
	struct handover_msg msg;
	for (size_t i = 0; i < ANSWERS_A_TURN; i++) {
		enum handover_io io = handover_recv(g->fd, &msg);
		if (io == HANDOVER_LATER)
			return true;
		handover_close(&msg); /* an answer has none */
		if (io != HANDOVER_DONE || !on_answer(g, &msg))
			return false;
	}
	return true;
}

/* ---- turns ------------------------------------------------------------------------------------ */

static void turn(struct giving *g)
{
	bool waited = g->open_n > 0;
	g->blocked = false;
	if (!commit_accepted(g) || !offer_some(g)) {
		give_up(g, "gone");
		return;
	}
	watch_set(g->watch, WATCH_READ | (g->blocked ? WATCH_WRITE : 0));
	if (g->open_n > 0 && !waited)
		answer_due(g);
	if (g->left == 0 && g->open_n == 0)
		end_pass(g);
	else if (g->left > 0 && !g->blocked && g->open_n < HANDOVER_WINDOW)
		soon_set(g->mmp->loop, &g->more);
}

static void on_more(void *arg)
{
	turn(OBJ(giving, arg));
}

static void on_ready(void *arg, unsigned events)
{
	struct giving *g = OBJ(giving, arg);
	if ((events & WATCH_READ) != 0 && !read_answers(g))
		give_up(g, "gone");
	else
		turn(g);
}

static void on_timer(void *arg)
{
	struct giving *g = OBJ(giving, arg);
	if (g->open_n > 0) {
		give_up(g, "late");
		return;
	}
	g->left = g->mmp->piped_n;
	turn(g);
}

void give_begin(struct mmp *m, int take_fd)
{
	char *room;
	if (m->giving != NULL) {
		close(take_fd);
		return;
	}
	struct giving *g = MEM_NEW(struct giving);
	g->magic = giving_MAGIC;
	g->mmp = m;
	g->fd = take_fd;
	g->watch = watch_new(m->loop, take_fd, on_ready, g);
	watch_set(g->watch, WATCH_READ);
	timer_init(&g->timer, m->loop, on_timer, g);
	soon_init(&g->more, on_more, g);
	g->record = BUF_INIT(HANDOVER_RECORD_MAX);
	buf_room(&g->record, HANDOVER_RECORD_MAX, &room);
	g->left = m->piped_n;
	m->giving = g;
	soon_set(m->loop, &g->more);
}

void give_end(struct mmp *m)
{
	if (m->giving != NULL)
		giving_free(m->giving);
}
