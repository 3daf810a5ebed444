/* inherit.c - the new master: takes what the old one has, proves that it can serve, takes over.
 *
 * See upgrade.h for the whole. Owns the sockets until they have found their place, and the link to the
 * old one, for as long as that serves sessions. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/link.h"
#include "daemon/master.h"
#include "daemon/slots.h"
#include "daemon/standing.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"

enum { RECEIVE_MS = 10000, POLL_MS = 50, SOCKETS_MAX = MASTER_LISTENERS_MAX + 16, WORDS = 4 };

struct inherited_socket {
	char *words[WORDS]; /* owned: kind, role, name, where */
	int fd;             /* owned; -1: it has found its place */
};

static void on_timer(void *arg);

bool inherit_waits(const struct master *m)
{
	enum inherit_state s = m->inherit.state;
	return s != INHERIT_NONE && s != INHERIT_TAKEN;
}

bool inherit_holds_back(const struct master *m, const struct daemon_role *role)
{
	enum inherit_state s = m->inherit.state;
	return role->exclusive && (s == INHERIT_TRIAL || s == INHERIT_PROVEN);
}

static void let_go(struct inheritance *in)
{
	watch_free(&in->watch);
	if (in->link >= 0)
		close(in->link);
	in->link = -1;
}

/* ---- what the predecessor sends -------------------------------------------------------------------- */

/* -1: nobody has started us to take over. */
static int link_of_predecessor(void)
{
	uint64_t fd;
	const char *text = getenv(INHERIT_VARIABLE);
	bool ok = text != NULL && span_u64(span_str(text), INT32_MAX, &fd) && fd > 2 &&
		  fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0;
	unsetenv(INHERIT_VARIABLE);
	return ok ? (int)fd : -1;
}

static bool keep_socket(struct inheritance *in, const struct link_msg *msg)
{
	struct span rest = buf_span(&msg->payload);
	if (msg->fd < 0 || in->count == SOCKETS_MAX)
		return false;
	struct inherited_socket *s = &in->sockets[in->count++];
	s->fd = msg->fd;
	for (size_t i = 0; i < WORDS; i++)
		s->words[i] = mem_span_str(span_cut(&rest, '\0'));
	return true;
}

/* Keys of tickets come last. */
static bool receive_all(struct master *m)
{
	struct inheritance *in = &m->inherit;
	for (;;) {
		struct pollfd p = { .fd = in->link, .events = POLLIN };
		struct link_msg msg;
		if (poll(&p, 1, RECEIVE_MS) != 1 || link_recv(in->link, &msg) != LINK_MSG)
			return false;
		bool kept = msg.type == LINK_SOCKET && keep_socket(in, &msg);
		bool last = msg.type == LINK_TICKETS;
		if (last)
			tickets_take(buf_span(&msg.payload), m->conf);
		if (!kept && msg.fd >= 0)
			close(msg.fd);
		buf_wipe_end(&msg.payload);
		if (!kept)
			return last;
	}
}

bool inherit_receive(struct master *m)
{
	struct inheritance *in = &m->inherit;
	in->link = link_of_predecessor();
	timer_init(&in->timer, m->loop, on_timer, m);
	if (in->link < 0)
		return true;
	in->state = INHERIT_TRIAL;
	in->sockets = mem_array(SOCKETS_MAX, sizeof *in->sockets);
	return receive_all(m);
}

int inherit_socket(
    struct master *m, const char *kind, const char *role, const char *name, const char *where)
{
	const char *const wanted[WORDS] = { kind, role, name, where };
	for (size_t i = 0; i < m->inherit.count; i++) {
		struct inherited_socket *s = &m->inherit.sockets[i];
		size_t same = 0;
		while (same < WORDS && strcmp(wanted[same], s->words[same]) == 0)
			same++;
		if (s->fd < 0 || same < WORDS)
			continue;
		int fd = s->fd;
		s->fd = -1;
		return fd;
	}
	return -1;
}

/* What the new configuration has no place for is closed here: with the old master it goes. */
static void drop_sockets(struct inheritance *in)
{
	for (size_t i = 0; i < in->count; i++) {
		for (size_t k = 0; k < WORDS; k++)
			mem_free(in->sockets[i].words[k]);
		if (in->sockets[i].fd >= 0)
			close(in->sockets[i].fd);
	}
	in->count = 0;
	MEM_FREE(&in->sockets);
}

/* ---- steps ----------------------------------------------------------------------------------------- */

static bool are_up(const struct master *m, bool exclusive)
{
	for (size_t i = 0; i < m->proc_count; i++) {
		const struct proc *p = &m->procs[i];
		if (p->role->exclusive == exclusive && proc_is_needed(p) &&
		    (!proc_is_serving(p) || !slots_healthy(p->slot)))
			return false;
	}
	return true;
}

static void take_over(struct master *m)
{
	struct inheritance *in = &m->inherit;
	in->state = INHERIT_TAKEN;
	timer_clear(&in->timer);
	if (!control_open(m) || !admin_http_open(m)) {
		master_begin_stop(
		    m, true); /* the event is logged; whoever watches us starts anew */
		m->exit_status = 70;
		return;
	}
	drop_sockets(in);
	master_send_all(m, LINK_OPEN, SPAN_NONE);
	master_announce(m);
}

static void start_exclusive(struct master *m)
{
	m->inherit.state = INHERIT_YIELDED;
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].role->exclusive)
			proc_revive(&m->procs[i]);
}

void inherit_step(struct master *m)
{
	struct inheritance *in = &m->inherit;
	if (in->state == INHERIT_TRIAL && are_up(m, false)) {
		in->state = INHERIT_PROVEN;
		link_send(in->link, LINK_READY, 0, SPAN_NONE, -1);
	} else if (in->state == INHERIT_YIELDED && are_up(m, true)) {
		in->state = INHERIT_UP;
		if (in->link < 0 || !link_send(in->link, LINK_UP, 0, SPAN_NONE, -1))
			take_over(m);
	}
}

static void on_timer(void *arg)
{
	struct master *m = OBJ(master, arg);
	inherit_step(m);
	if (inherit_waits(m))
		timer_set(&m->inherit.timer, POLL_MS);
}

/* Before TAKE it has not given us up, or we would be dead: it died, and everything is ours. */
static void predecessor_gone(struct master *m)
{
	enum inherit_state s = m->inherit.state;
	let_go(&m->inherit);
	if (s == INHERIT_TAKEN) {
		slots_reset_gauges(m->former_slot);
		control_former_gone(m);
	} else if (s < INHERIT_YIELDED) {
		start_exclusive(m);
	} else if (s == INHERIT_UP) {
		take_over(m);
	}
	master_step(m);
}

/* An old worker's connection goes to one of ours; without one it is closed, and the old worker knows. */
static void pass_on(struct master *m, const struct link_msg *msg)
{
	const struct proc *able[PROCS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < m->proc_count; i++) {
		const struct proc *p = &m->procs[i];
		if (p->role->take != NULL && proc_is_serving(p) &&
		    span_eq_str(buf_span(&msg->payload), p->role->name))
			able[n++] = p;
	}
	if (n > 0 && msg->fd >= 0)
		link_send(able[msg->id % n]->link, LINK_SESSIONS, 0, SPAN_NONE, msg->fd);
}

static void on_message(struct master *m, const struct link_msg *msg)
{
	struct inheritance *in = &m->inherit;
	switch (msg->type) {
	case LINK_YIELDED:
		if (in->state == INHERIT_PROVEN)
			start_exclusive(m);
		inherit_step(m);
		break;
	case LINK_TAKE:
		if (in->state == INHERIT_UP)
			take_over(m);
		break;
	case LINK_ORDERS:
		standing_take(m->standing, buf_span(&msg->payload), loop_now_ms(m->loop));
		master_say_orders(m);
		break;
	case LINK_SESSIONS_OF:
		if (in->state == INHERIT_TAKEN)
			pass_on(m, msg);
		break;
	case LINK_METRICS:
		slots_take_totals(m->former_slot, buf_span(&msg->payload));
		break;
	case LINK_ANSWER:
		control_former_answer(m, msg->id, buf_span(&msg->payload));
		break;
	default:
		break;
	}
}

static void on_link(void *arg, unsigned events)
{
	struct master *m = OBJ(master, arg);
	struct link_msg msg;
	switch (link_recv(m->inherit.link, &msg)) {
	case LINK_MSG:
		on_message(m, &msg);
		if (msg.fd >= 0)
			close(msg.fd);
		buf_end(&msg.payload);
		break;
	case LINK_CLOSED:
		predecessor_gone(m);
		break;
	case LINK_NOTHING:
		break;
	}
}

void inherit_begin(struct master *m)
{
	struct inheritance *in = &m->inherit;
	if (in->link < 0)
		return;
	in->watch = watch_new(m->loop, in->link, on_link, m);
	watch_set(in->watch, WATCH_READ);
	timer_set(&in->timer, POLL_MS);
}

void inherit_end(struct master *m)
{
	timer_clear(&m->inherit.timer);
	let_go(&m->inherit);
	drop_sockets(&m->inherit);
}
