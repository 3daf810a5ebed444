/* loop.c - the event loop: libevent's raw events below, our own timer heap and deferred calls.
 *
 * A round is: wait for descriptors (their callbacks run inside libevent), then timers that are due,
 * then deferred calls, then the calls set for the end of the round. The heap needs one libevent
 * timer, set before each wait to the first due time. Owns the event base and the heap. */
#include "net/loop.h"

#include <signal.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include "net/loop_internal.h"

#define loop_signal_MAGIC 0x519a1001u

struct loop {
	struct event_base *base; /* owned */
	struct event tick;
	uint64_t tick_at; /* when it is armed for; 0: not armed */
	uint64_t now_ms;
	bool now_old; /* the wait is over and no callback has looked at the clock yet */
	bool stop;
	bool in_timers; /* run_timers() is under way */
	uint64_t ran;   /* callbacks so far: tells loop_step() whether anything happened */
	struct heap timers;
	struct list_node soons, ends, orphans;
};

struct loop_signal {
	uint32_t magic;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	struct event ev;
};

/* ---- life ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct loop *l = arg;
	l->tick_at = 0;
}

static void on_libevent_fatal(int err)
{
	BUG("libevent gave up");
}

struct loop *loop_new(void)
{
	struct loop *l = MEM_NEW(struct loop);
	struct event_config *cfg = event_config_new();
	CHECK(cfg != NULL);
	event_set_fatal_callback(on_libevent_fatal);
	/* One thread: no locks. The epoll changelist stays off (the default): descriptors are closed
	 * and their numbers used again within one round. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	event_config_require_features(cfg, EV_FEATURE_EARLY_CLOSE); /* WATCH_LAST */
	l->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	CHECK(l->base != NULL);
	CHECK(evtimer_assign(&l->tick, l->base, on_tick, l) == 0);
	list_init(&l->soons);
	list_init(&l->ends);
	list_init(&l->orphans);
	l->now_ms = clock_mono_ms();
	/* SSL_write() and splice() have no MSG_NOSIGNAL. */
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	return l;
}

void loop_free(struct loop **l)
{
	struct loop *dying = *l;
	struct list_node *n;
	if (dying == NULL)
		return;
	while ((n = list_pop(&dying->orphans)) != NULL) {
		struct orphan *o = LIST_OF(struct orphan, link, n);
		o->end(o);
	}
	event_del(&dying->tick);
	event_base_free(dying->base);
	heap_end(&dying->timers);
	MEM_FREE(l);
}

void loop_after_fork(struct loop **l)
{
	if (*l == NULL)
		return;
	/* A new epoll descriptor and signal pipe first: freeing events would else reach the parent's. */
	CHECK(event_reinit((*l)->base) == 0);
	event_base_free((*l)->base);
	heap_end(&(*l)->timers);
	MEM_FREE(l);
}

struct event_base *loop_base(struct loop *l)
{
	return l->base;
}

void loop_adopt(struct loop *l, struct orphan *o)
{
	list_add_tail(&l->orphans, &o->link);
}

void orphan_leave(struct orphan *o)
{
	list_remove(&o->link);
}

/* ---- the round ---- */

static void freshen(struct loop *l)
{
	if (l->now_old) {
		l->now_ms = clock_mono_ms();
		l->now_old = false;
	}
}

uint64_t loop_now_ms(const struct loop *l)
{
	return l->now_ms;
}

/* Arms the tick so that the wait ends at `at`; UINT64_MAX: no limit. */
static void arm_tick(struct loop *l, uint64_t now, uint64_t at)
{
	if (at == UINT64_MAX) {
		if (l->tick_at != 0)
			event_del(&l->tick);
		l->tick_at = 0;
		return;
	}
	if (at == l->tick_at)
		return;
	uint64_t wait = at > now ? at - now : 0;
	struct timeval tv = { .tv_sec = (time_t)(wait / 1000),
		.tv_usec = (suseconds_t)(wait % 1000 * 1000) };
	CHECK(evtimer_add(&l->tick, &tv) == 0);
	l->tick_at = at;
}

static void run_timers(struct loop *l)
{
	struct heap_node *n;
	l->in_timers = true;
	while ((n = heap_first(&l->timers)) != NULL && n->due <= l->now_ms) {
		struct timer *t = LIST_OF(struct timer, node, n);
		if (t->due > l->now_ms) { /* put off since */
			heap_put(&l->timers, n, t->due);
			continue;
		}
		heap_remove(&l->timers, n);
		l->ran++;
		t->fn(t->arg);
	}
	l->in_timers = false;
}

/* Runs what is in the list now; what the calls add waits for the next time. */
static void run_list(struct loop *l, struct list_node *head)
{
	struct list_node batch, *n;
	if (list_empty(head))
		return;
	batch = *head;
	batch.next->prev = batch.prev->next = &batch;
	list_init(head);
	while ((n = list_pop(&batch)) != NULL) {
		struct soon *s = LIST_OF(struct soon, link, n);
		l->ran++;
		s->fn(s->arg);
	}
}

static void run_round(struct loop *l, uint64_t wait_ms)
{
	uint64_t now = clock_mono_ms(), at = UINT64_MAX;
	struct heap_node *first = heap_first(&l->timers);
	log_flush();
	bool busy = !list_empty(&l->soons) || !list_empty(&l->ends) || wait_ms == 0 ||
		    (first != NULL && first->due <= now);
	if (!busy) {
		if (first != NULL)
			at = first->due;
		if (wait_ms != UINT64_MAX && now + wait_ms < at)
			at = now + wait_ms;
		arm_tick(l, now, at);
	}
	l->now_old = true;
	/* ONCE in both cases: NONBLOCK alone goes on until nothing is ready, so one descriptor that stays
	 * ready (a paused stream, a peer that writes without end) would keep timers and answers waiting. */
	int how = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (busy ? EVLOOP_NONBLOCK : 0);
	CHECK(event_base_loop(l->base, how) >= 0);
	freshen(l);
	run_timers(l);
	run_list(l, &l->soons);
	run_list(l, &l->ends);
}

void loop_run(struct loop *l)
{
	while (!l->stop)
		run_round(l, UINT64_MAX);
	l->stop = false; /* not before the loop: a stop may come while the worker is being set up */
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

bool loop_step(struct loop *l, uint64_t wait_ms)
{
	uint64_t before = l->ran;
	run_round(l, wait_ms);
	return l->ran != before;
}

/* ---- timers and deferred calls ---- */

void timer_init(struct timer *t, struct loop *l, void (*fn)(void *arg), void *arg)
{
	*t = (struct timer){ .loop = l, .fn = fn, .arg = arg };
}

void timer_set(struct timer *t, uint64_t delay_ms)
{
	/* Not the cached time: a long callback would make the timer early. */
	uint64_t now = clock_mono_ms();
	uint64_t due = delay_ms < UINT64_MAX / 2 - now ? now + delay_ms : UINT64_MAX / 2;
	/* What a timer sets without a delay is not of this round, or it could keep the round going. */
	if (t->loop->in_timers && due <= t->loop->now_ms)
		due = t->loop->now_ms + 1;
	t->due = due;
	if (!timer_armed(t) || due < t->node.due)
		heap_put(&t->loop->timers, &t->node, due);
}

void timer_clear(struct timer *t)
{
	if (t->loop != NULL)
		heap_remove(&t->loop->timers, &t->node);
}

bool timer_armed(const struct timer *t)
{
	return t->node.place != 0;
}

void soon_init(struct soon *s, void (*fn)(void *arg), void *arg)
{
	*s = (struct soon){ .fn = fn, .arg = arg };
}

void soon_set(struct loop *l, struct soon *s)
{
	if (s->link.next == NULL)
		list_add_tail(&l->soons, &s->link);
}

void soon_clear(struct soon *s)
{
	list_remove(&s->link);
}

void loop_at_end(struct loop *l, struct soon *s)
{
	if (s->link.next == NULL)
		list_add_tail(&l->ends, &s->link);
}

/* ---- descriptors and signals ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = OBJ(watch, arg);
	freshen(w->loop);
	w->loop->ran++;
	w->fn(w->arg, (what & (EV_READ | EV_CLOSED) ? WATCH_READ : 0u) |
			  (what & EV_WRITE ? WATCH_WRITE : 0u) |
			  (what & EV_CLOSED ? WATCH_LAST : 0u));
}

void watch_init(
    struct watch *w, struct loop *l, int fd, void (*fn)(void *arg, unsigned events), void *arg)
{
	memset(w, 0, sizeof *w);
	w->magic = watch_MAGIC;
	w->loop = l;
	w->ev.ev_fd = fd;
	w->fn = fn;
	w->arg = arg;
}

void watch_set(struct watch *w, unsigned events)
{
	if (w->events == events)
		return;
	if (w->events != 0)
		event_del(&w->ev);
	w->events = events;
	if (events == 0)
		return;
	/* EV_CLOSED with it for all: one descriptor is often watched by two in turn, and then nothing changes */
	short what = (short)(EV_PERSIST | (events & WATCH_READ ? EV_READ | EV_CLOSED : 0) |
			     (events & WATCH_WRITE ? EV_WRITE : 0));
	CHECK(event_assign(&w->ev, w->loop->base, event_get_fd(&w->ev), what, on_ready, w) == 0);
	CHECK(event_add(&w->ev, NULL) == 0);
}

void watch_end(struct watch *w)
{
	if (w->magic == 0)
		return;
	watch_set(w, 0);
	w->magic = 0;
}

struct watch *watch_new(struct loop *l, int fd, void (*fn)(void *arg, unsigned events), void *arg)
{
	struct watch *w = MEM_NEW(struct watch);
	watch_init(w, l, fd, fn, arg);
	return w;
}

void watch_free(struct watch **w)
{
	if (*w == NULL)
		return;
	watch_end(*w);
	MEM_FREE(w);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct loop_signal *s = OBJ(loop_signal, arg);
	freshen(s->loop);
	s->loop->ran++;
	s->fn(s->arg);
}

struct loop_signal *loop_signal_new(struct loop *l, int signo, void (*fn)(void *arg), void *arg)
{
	struct loop_signal *s = MEM_NEW(struct loop_signal);
	s->magic = loop_signal_MAGIC;
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	CHECK(evsignal_assign(&s->ev, l->base, signo, on_signal, s) == 0);
	CHECK(evsignal_add(&s->ev, NULL) == 0);
	return s;
}

void loop_signal_free(struct loop_signal **s)
{
	if (*s == NULL)
		return;
	evsignal_del(&(*s)->ev);
	(*s)->magic = 0;
	MEM_FREE(s);
}
