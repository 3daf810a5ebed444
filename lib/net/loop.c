/* loop.c - the event loop: epoll, a timer heap, deferred calls.
 *
 * A round is: wait for descriptors, and call whose they are; then timers that are due, then deferred calls, then the calls set
 * for the end of the round. A process that has signals or the admin's HTTP has libevent for them: then libevent waits, for
 * its own events and for our epoll as a whole. Workers have neither. Owns the epoll descriptor, the heap and that base. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include "net/loop_internal.h"

#define loop_signal_MAGIC 0x519a1001u

enum { BATCH = 128, BY_FD_FIRST = 64 };

struct loop {
	int epoll;            /* owned */
	struct watch **by_fd; /* owned; whose the descriptor is in epoll, NULL: it is not there */
	size_t by_fd_n;       /* places */
	struct watch **batch; /* of dispatch(), where NULL has lost its turn; NULL outside of it */
	struct event_base *base; /* owned; NULL: libevent has nothing to do */
	struct event all, tick;  /* with base: the epoll descriptor; the end of the wait */
	uint64_t tick_at;        /* when it is armed for; 0: not armed */
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

static void dispatch(struct loop *l, int wait_ms);

static void on_epoll(evutil_socket_t fd, short what, void *arg)
{
	dispatch(arg, 0);
}

/* For one thread: no locks. */
struct event_base *loop_base(struct loop *l)
{
	if (l->base != NULL)
		return l->base;
	struct event_config *cfg = event_config_new();
	CHECK(cfg != NULL);
	event_set_fatal_callback(on_libevent_fatal);
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	l->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	CHECK(l->base != NULL && evtimer_assign(&l->tick, l->base, on_tick, l) == 0);
	CHECK(event_assign(&l->all, l->base, l->epoll, EV_READ | EV_PERSIST, on_epoll, l) == 0);
	CHECK(event_add(&l->all, NULL) == 0);
	return l->base;
}

struct loop *loop_new(void)
{
	struct loop *l = MEM_NEW(struct loop);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK(l->epoll >= 0);
	list_init(&l->soons);
	list_init(&l->ends);
	list_init(&l->orphans);
	l->now_ms = clock_mono_ms();
	/* SSL_write() and splice() have no MSG_NOSIGNAL. */
	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	return l;
}

/* What it has of its own. Closing epoll's descriptor changes nothing for another process that has it. */
static void loop_end(struct loop *l)
{
	close(l->epoll);
	mem_free(l->by_fd);
	heap_end(&l->timers);
	mem_free(l);
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
	if (dying->base != NULL) {
		event_del(&dying->all);
		event_del(&dying->tick);
		event_base_free(dying->base);
	}
	loop_end(dying);
	*l = NULL;
}

void loop_after_fork(struct loop **l)
{
	struct loop *parents = *l;
	*l = NULL;
	if (parents == NULL)
		return;
	if (parents->base != NULL) {
		/* Descriptors of its own first: freeing events would else reach the parent's. */
		CHECK(event_reinit(parents->base) == 0);
		event_base_free(parents->base);
	}
	loop_end(parents);
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

/* For epoll_wait(). */
static int wait_of(uint64_t now, uint64_t at)
{
	if (at == UINT64_MAX)
		return -1;
	uint64_t ms = at > now ? at - now : 0;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void wait_with_libevent(struct loop *l, bool busy, uint64_t now, uint64_t at)
{
	if (!busy)
		arm_tick(l, now, at);
	/* ONCE in both cases: NONBLOCK alone goes on until nothing is ready, so one descriptor that stays
	 * ready (a paused stream, a peer that writes without end) would keep timers and answers waiting. */
	int how = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (busy ? EVLOOP_NONBLOCK : 0);
	CHECK(event_base_loop(l->base, how) >= 0);
}

static void run_round(struct loop *l, uint64_t wait_ms)
{
	uint64_t now = clock_mono_ms(), at = UINT64_MAX;
	struct heap_node *first = heap_first(&l->timers);
	log_flush();
	bool busy = !list_empty(&l->soons) || !list_empty(&l->ends) || wait_ms == 0 ||
		    (first != NULL && first->due <= now);
	if (!busy && first != NULL)
		at = first->due;
	if (!busy && wait_ms != UINT64_MAX && now + wait_ms < at)
		at = now + wait_ms;
	l->now_old = true;
	if (l->base != NULL)
		wait_with_libevent(l, busy, now, at);
	else
		dispatch(l, busy ? 0 : wait_of(now, at));
	freshen(l);
	run_timers(l);
	run_list(l, &l->soons);
	log_flush(); /* whoever is answered at the end of the round finds its line in the log */
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

/* What epoll says, as far as it is asked for. Errors show at the next read or write: behind one is no last byte. */
static unsigned events_of(const struct watch *w, uint32_t said)
{
	unsigned e = 0;
	if (said & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e |= WATCH_READ;
	if (said & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		e |= WATCH_WRITE;
	e &= w->events;
	bool last = (said & EPOLLRDHUP) && !(said & EPOLLERR);
	return (e & WATCH_READ) && last ? e | WATCH_LAST : e;
}

/* One batch: what stays ready is said again in the next round. */
static void dispatch(struct loop *l, int wait_ms)
{
	struct epoll_event said[BATCH];
	struct watch *batch[BATCH];
	int n = epoll_wait(l->epoll, said, BATCH, wait_ms);
	CHECK(n >= 0 || errno == EINTR);
	for (int i = 0; i < n; i++) {
		struct watch *w = batch[i] = l->by_fd[said[i].data.fd];
		if (w == NULL) /* see watch_forget() */
			continue;
		OBJ(watch, w)->turn = (unsigned)i + 1;
		said[i].events = events_of(w, said[i].events);
	}
	l->batch = batch;
	for (int i = 0; i < n; i++) {
		struct watch *w = batch[i];
		if (w == NULL)
			continue;
		w->turn = 0;
		if (said[i].events == 0)
			continue;
		freshen(l);
		l->ran++;
		w->fn(w->arg, said[i].events);
	}
	l->batch = NULL;
}

/* What it has been told in this batch is no longer what it waits for; it may be gone by its turn. */
static void lose_turn(struct watch *w)
{
	if (w->turn > 0 && w->loop->batch != NULL)
		w->loop->batch[w->turn - 1] = NULL;
	w->turn = 0;
}

void watch_init(
    struct watch *w, struct loop *l, int fd, void (*fn)(void *arg, unsigned events), void *arg)
{
	memset(w, 0, sizeof *w);
	w->magic = watch_MAGIC;
	w->loop = l;
	w->fd = fd;
	w->fn = fn;
	w->arg = arg;
}

static struct watch **place_of(struct loop *l, int fd)
{
	CHECK(fd >= 0);
	size_t want = l->by_fd_n > 0 ? l->by_fd_n : BY_FD_FIRST;
	while (want <= (size_t)fd)
		want *= 2;
	if (want > l->by_fd_n) {
		l->by_fd = mem_grow(l->by_fd, want, sizeof(struct watch *));
		memset(l->by_fd + l->by_fd_n, 0, (want - l->by_fd_n) * sizeof(struct watch *));
		l->by_fd_n = want;
	}
	return &l->by_fd[fd];
}

/* Who watches a descriptor that another one watches takes it over: the kernel need not be told, if both want the same. */
void watch_set(struct watch *w, unsigned events)
{
	if (w->events == events)
		return;
	struct watch **place = place_of(w->loop, w->fd), *before = *place;
	CHECK(before == w || w->events == 0);
	w->events = events;
	lose_turn(w);
	struct epoll_event e = { .events = (events & WATCH_READ ? EPOLLIN | EPOLLRDHUP : 0u) |
					   (events & WATCH_WRITE ? EPOLLOUT : 0u),
		.data.fd = w->fd };
	int how = events == 0 ? EPOLL_CTL_DEL : before == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	bool same = before != NULL && before != w && before->events == events;
	*place = events == 0 ? NULL : w;
	if (before != NULL && before != w) {
		lose_turn(before);
		before->events = 0;
	}
	CHECK(same || epoll_ctl(w->loop->epoll, how, w->fd, &e) == 0);
}

void watch_end(struct watch *w)
{
	if (w->magic == 0)
		return;
	watch_set(w, 0);
	w->magic = 0;
}

void watch_forget(struct watch *w)
{
	if (w->magic == 0)
		return;
	if (w->events != 0)
		*place_of(w->loop, w->fd) = NULL;
	lose_turn(w);
	w->events = 0;
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
	CHECK(evsignal_assign(&s->ev, loop_base(l), signo, on_signal, s) == 0);
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
