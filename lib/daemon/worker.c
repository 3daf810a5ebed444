/* worker.c - one worker process: its loop, its link to the master, reload, drain and stop.
 *
 * Before: master.c forked. Owns the loop, the newest configuration snapshot and its end of the link. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon_conf.h"
#include "daemon/link.h"
#include "daemon/slots.h"
#include "daemon/standing.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"
#include "daemon/worker.h"

enum {
	LISTENERS_MAX = 128,
	CONTROL_WORDS_MAX = 64,
	ANSWER_MAX = 16 * 1024 * 1024,
	HEALTH_MS = 2000,
	HEALTH_SHUT_MS = 100 /* while it waits to be taken into service */
};

#define worker_MAGIC 0x3077ac71u

struct worker {
	uint32_t magic;
	const struct worker_birth *birth;
	struct loop *loop;        /* owned */
	struct conf *conf;        /* one reference */
	struct watch *link_watch; /* owned */
	struct open_listener listeners[LISTENERS_MAX];
	bool told[LISTENERS_MAX]; /* worker_each_listener() has shown it */
	size_t listener_count;
	void *data;
	uint32_t asked;    /* of the control question being answered */
	bool answer_later; /* ... by worker_answer() */
	bool draining, retired, drained;
	bool shut;           /* has no listeners yet */
	struct timer health; /* armed when the role has healthy() */
};

void daemon_log_setup(const struct conf *c, const char *program, const char *role, unsigned index)
{
	static char name[64];
	const struct root_conf *root = conf_section(c, &root_block);
	if (role == NULL)
		snprintf(name, sizeof name, "%s", program);
	else
		snprintf(name, sizeof name, "%s/%s/%u", program, role, index);
	log_setup(name, (enum log_level)root->log_level, root->log_format == 1);
}

struct loop *worker_loop(struct worker *w)
{
	return w->loop;
}

const struct conf *worker_conf(struct worker *w)
{
	return w->conf;
}

const char *worker_role(struct worker *w)
{
	return w->birth->role->name;
}

unsigned worker_index(struct worker *w)
{
	return w->birth->index;
}

void *worker_data(struct worker *w)
{
	return w->data;
}

void worker_set_data(struct worker *w, void *data)
{
	w->data = data;
}

bool worker_draining(struct worker *w)
{
	return w->draining;
}

void worker_set_healthy(struct worker *w, bool healthy)
{
	slots_set_healthy(w->birth->slot, healthy);
}

void worker_drained(struct worker *w)
{
	if ((w->draining || w->retired) && !w->drained) {
		w->drained = true;
		link_send(w->birth->link, LINK_DRAINED, 0, SPAN_NONE, -1);
	}
}

static bool is_own(const struct worker *w, size_t listener)
{
	return strcmp(w->listeners[listener].at.role, w->birth->role->name) == 0;
}

void worker_each_listener(
    struct worker *w, void (*fn)(void *arg, const struct daemon_listener *at, int fd), void *arg)
{
	for (size_t i = 0; !w->shut && i < w->listener_count; i++)
		if (!w->told[i] && is_own(w, i)) {
			w->told[i] = true;
			fn(arg, &w->listeners[i].at, w->listeners[i].fd);
		}
}

uint32_t worker_answer_later(struct worker *w)
{
	w->answer_later = true;
	return w->asked;
}

void worker_answer(struct worker *w, uint32_t ask, struct span json)
{
	link_send(w->birth->link, LINK_ANSWER, ask, json, -1);
}

/* ---- what the master says ---- */

static void put_answer(struct worker *w, const struct link_msg *m)
{
	const char *words[CONTROL_WORDS_MAX];
	struct control_ask ask = { .words = words };
	struct span rest = buf_span(&m->payload);
	struct buf out = BUF_INIT(ANSWER_MAX);
	while (rest.n > 0 && ask.n < CONTROL_WORDS_MAX) {
		struct span word = span_cut(&rest, '\0');
		words[ask.n++] = word.p;
	}
	w->asked = m->id;
	w->answer_later = false;
	bool mine =
	    w->birth->role->control != NULL && ask.n > 0 && w->birth->role->control(w, &ask, &out);
	struct span json = !mine                               ? SPAN_NONE
			   : buf_ok(&out) && buf_len(&out) > 0 ? buf_span(&out)
							       : SPAN("null");
	if (!mine || !w->answer_later)
		link_send(w->birth->link, LINK_ANSWER, m->id, json, -1);
	buf_end(&out);
}

static void take_orders(struct worker *w, const struct link_msg *m)
{
	const struct daemon_role *role = w->birth->role;
	const char *words[STANDING_WORDS];
	struct span rest = buf_span(&m->payload);
	while (role->control != NULL && standing_next(&rest, words)) {
		struct buf unheard = BUF_INIT(ANSWER_MAX);
		role->control(w, &(struct control_ask){ words, STANDING_WORDS }, &unheard);
		buf_end(&unheard);
	}
}

/* The listener's facts are found in the new configuration: the program's own table says them. */
static void add_listener(struct worker *w, const struct link_msg *m)
{
	struct span rest = buf_span(&m->payload);
	struct daemon_listener at = { 0 };
	if (m->fd < 0 || w->listener_count == LISTENERS_MAX) {
		if (m->fd >= 0)
			close(m->fd);
		return;
	}
	at.role = mem_span_str(span_cut(&rest, '\0'));
	at.name = mem_span_str(span_cut(&rest, '\0'));
	struct span where = span_cut(&rest, '\0');
	if (!ip_parse_port(where, &at.at))
		at.unix_path = mem_span_str(where);
	w->listeners[w->listener_count++] = (struct open_listener){ at, m->fd };
}

static void reload(struct worker *w, const struct link_msg *m)
{
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_unpack(buf_span(&m->payload));
	struct conf *fresh =
	    src == NULL ? NULL : conf_load(w->birth->schema, src, w->birth->overrides, d);
	if (fresh == NULL) {
		/* the master has just loaded the same bytes, so this is not the operator's mistake */
		log_write(&daemon_events[DAEMON_EV_CONFIG_REFUSED], NULL,
		    LOG_FIELDS(LOG_STR("error",
			conf_error_count(d) > 0 ? conf_error_text(d, 0) : "unreadable bundle")));
	} else {
		conf_unref(&w->conf);
		w->conf = fresh;
		tickets_use(fresh);
		daemon_log_setup(
		    fresh, w->birth->spec->name, w->birth->role->name, w->birth->index);
		if (w->birth->role->reload != NULL)
			w->birth->role->reload(w, fresh);
	}
	conf_source_free(&src);
	conf_diag_free(&d);
}

static void drain(struct worker *w)
{
	if (w->draining)
		return;
	w->draining = true;
	if (w->birth->role->drain != NULL)
		w->birth->role->drain(w);
	else
		worker_drained(w);
}

/* The sockets are the newer process's: one that is held here would outlive it. */
static void retire(struct worker *w)
{
	const struct daemon_role *role = w->birth->role;
	if (w->retired || w->draining)
		return;
	if (role->retire == NULL) {
		drain(w);
		return;
	}
	w->retired = true;
	role->retire(w);
	for (size_t i = 0; i < w->listener_count; i++)
		if (is_own(w, i))
			close(w->listeners[i].fd);
}

static void open_doors(struct worker *w)
{
	w->shut = false;
	if (w->birth->role->reload != NULL)
		w->birth->role->reload(w, w->conf);
}

/* The connection to a worker of the other binary. */
static void take_sessions_link(struct worker *w, int take_fd)
{
	const struct daemon_role *role = w->birth->role;
	if (take_fd < 0)
		return;
	if (w->retired && role->give != NULL)
		role->give(w, take_fd);
	else if (!w->retired && role->take != NULL)
		role->take(w, take_fd);
	else
		close(take_fd);
}

/* Whose descriptor is the receiver's. */
static bool keeps_descriptor(enum link_type type)
{
	return type == LINK_LISTENER || type == LINK_SESSIONS;
}

static void on_message(struct worker *w, const struct link_msg *m)
{
	switch (m->type) {
	case LINK_CONTROL:
		put_answer(w, m);
		break;
	case LINK_ORDERS:
		take_orders(w, m);
		break;
	case LINK_LISTENER:
		add_listener(w, m);
		break;
	case LINK_RELOAD:
		reload(w, m);
		break;
	case LINK_TICKETS:
		tickets_take(buf_span(&m->payload), w->conf);
		break;
	case LINK_DRAIN:
		drain(w);
		if (m->id > 0 && w->birth->role->stopping != NULL)
			w->birth->role->stopping(w, m->id);
		break;
	case LINK_RETIRE:
		retire(w);
		break;
	case LINK_OPEN:
		open_doors(w);
		break;
	case LINK_SESSIONS:
		take_sessions_link(w, m->fd);
		break;
	case LINK_STOP:
		loop_stop(w->loop);
		break;
	default:
		break;
	}
}

static void on_link(void *arg, unsigned events)
{
	struct worker *w = OBJ(worker, arg);
	struct link_msg m;
	enum link_got got = link_recv(w->birth->link, &m);
	if (got == LINK_CLOSED)
		loop_stop(w->loop); /* the master is gone */
	if (got != LINK_MSG)
		return;
	on_message(w, &m);
	if (m.fd >= 0 && !keeps_descriptor(m.type))
		close(m.fd);
	buf_end(&m.payload);
}

/* ---- becoming a worker ---- */

/* Handlers of the master mean nothing here; the terminal's signals and a service manager's SIGTERM, which
 * go to the whole group, are for the master alone: it asks its workers to drain. A
 * master that dies closes its end of the link: that is the worker's signal to end. */
static void reset_signals(void)
{
	static const int back_to_default[] = { SIGCHLD, SIGUSR1, SIGUSR2, SIGQUIT };
	struct sigaction sa = { .sa_handler = SIG_DFL };
	sigset_t none;
	for (size_t i = 0; i < COUNT_OF(back_to_default); i++)
		sigaction(back_to_default[i], &sa, NULL);
	sa.sa_handler = SIG_IGN;
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool become_user(const char *user)
{
	if (user == NULL || geteuid() != 0)
		return true;
	const struct passwd *pw = getpwnam(user);
	return pw != NULL && initgroups(user, pw->pw_gid) == 0 && setgid(pw->pw_gid) == 0 &&
	       setuid(pw->pw_uid) == 0 && (pw->pw_uid == 0 || setuid(0) != 0);
}

static bool confine(const struct worker_birth *b)
{
	const struct root_conf *root = conf_section(b->conf, &root_block);
	if (b->role->keeps_rights)
		return getppid() == b->master;
	if (!become_user(root->user)) {
		log_write(&daemon_events[DAEMON_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("what", "user"), LOG_STR("error", strerror(errno))));
		return false;
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return getppid() == b->master;
}

static void on_health(void *arg)
{
	struct worker *w = OBJ(worker, arg);
	worker_set_healthy(w, w->birth->role->healthy(w));
	timer_set(&w->health, w->shut ? HEALTH_SHUT_MS : HEALTH_MS);
}

static void worker_end(struct worker *w)
{
	timer_clear(&w->health);
	if (w->birth->role->stop != NULL)
		w->birth->role->stop(w);
	for (size_t i = w->birth->listener_count; i < w->listener_count; i++) {
		mem_free((void *)(uintptr_t)w->listeners[i].at.role);
		mem_free((void *)(uintptr_t)w->listeners[i].at.name);
		mem_free((void *)(uintptr_t)w->listeners[i].at.unix_path);
	}
	watch_free(&w->link_watch);
	conf_unref(&w->conf);
	loop_free(&w->loop);
	tickets_end();
	close(w->birth->link);
	mem_free(w);
}

int worker_run(const struct worker_birth *birth)
{
	reset_signals();
	slots_attach(birth->slot);
	daemon_log_setup(birth->conf, birth->spec->name, birth->role->name, birth->index);
	if (!confine(birth))
		return 70;
	struct worker *w = MEM_NEW(struct worker);
	w->magic = worker_MAGIC;
	w->birth = birth;
	w->conf = conf_ref(birth->conf);
	w->loop = loop_new();
	CHECK(birth->listener_count <= LISTENERS_MAX);
	memcpy(w->listeners, birth->listeners, birth->listener_count * sizeof w->listeners[0]);
	w->listener_count = birth->listener_count;
	w->link_watch = watch_new(w->loop, birth->link, on_link, w);
	watch_set(w->link_watch, WATCH_READ);
	w->shut = birth->shut;
	birth->role->start(w);
	timer_init(&w->health, w->loop, on_health, w);
	if (birth->role->healthy != NULL) {
		if (w->shut)
			worker_set_healthy(w, false); /* until it was asked */
		timer_set(&w->health, w->shut ? HEALTH_SHUT_MS : HEALTH_MS);
	}
	link_send(birth->link, LINK_READY, 0, SPAN_NONE, -1);
	loop_run(w->loop);
	worker_end(w);
	return 0;
}
