/* accept.c - step 1 of 6: what one access worker owns, and how connections become sessions.
 *
 * Owns the directory, the links to the committers, the indexes, the doors and the list of sessions. After:
 * the session of the listener's protocol; beside: login.c. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/doors.h"
#include "store-backend/accept.h"
#include "store-backend/imap/imap_session.h"
#include "store-backend/imap/selected_shelf.h"
#include "store-backend/imap/text_fill.h"
#include "store-backend/lmtp/lmtp_session.h"
#include "store-backend/pop3/pop3_session.h"
#include "store-backend/store.h"

enum {
	PROXY_HEADER_MS = 5000,
	OPEN_WITHIN_MS = 10000,
	WAITING_OPERATIONS_MAX = 10000,
	WAITING_BYTES_MAX = 256 * 1024 * 1024,
};

#define store_worker_MAGIC 0x57043a11u
#define open_partition_MAGIC 0x57043a12u

struct open_partition {
	uint32_t magic;
	struct store_worker *worker;
	struct store_partition shared; /* what sessions see */
	char index_dir[1024];
	uint64_t epoch;
};

struct store_worker {
	uint32_t magic;
	struct worker *worker;
	struct dns *dns;
	struct directory *directory;
	struct conf *conf;  /* the newest */
	struct conf *first; /* partitions are of this one */
	struct tls_ctx *tls[STORE_PROTOCOL_COUNT], *tls_client;
	struct open_partition partitions[STORE_PARTITIONS_MAX];
	size_t partition_n;
	struct doors *doors;
	struct timer opening;
	struct list_node sessions;
	size_t session_n;
	bool draining;
	bool leaves; /* with the last session */
};

static const struct {
	store_session_start_fn *start;
	const char *alpn;
} protocols[STORE_PROTOCOL_COUNT] = {
	[STORE_IMAP] = { imap_session_start, "imap" },
	[STORE_POP3] = { pop3_session_start, "pop3" },
	[STORE_LMTP] = { lmtp_session_start, NULL },
};

/* ---- what sessions ask ---- */

struct loop *store_worker_loop(struct store_worker *w)
{
	return worker_loop(w->worker);
}

const char *store_worker_hostname(const struct store_worker *w)
{
	return daemon_hostname(w->conf);
}

struct directory *store_worker_directory(struct store_worker *w)
{
	return w->directory;
}

const struct conf *store_worker_conf(const struct store_worker *w)
{
	return w->conf;
}

const struct tls_ctx *store_worker_tls(struct store_worker *w, enum store_protocol protocol)
{
	return w->tls[protocol];
}

const struct tls_ctx *store_worker_tls_client(struct store_worker *w)
{
	return w->tls_client;
}

struct dns *store_worker_dns(struct store_worker *w)
{
	return w->dns;
}

static bool holds_user(struct store_partition *p, struct span user)
{
	struct index_user found;
	struct index_view *v = index_view_begin(p->index);
	bool yes = v != NULL && (index_user(v, user, &found) || index_stay(v, user) != STAY_HERE);
	if (v != NULL)
		index_view_end(&v);
	return yes;
}

struct store_partition *store_partition_of(struct store_worker *w, struct span user)
{
	if (w->partition_n == 1)
		return &w->partitions[0].shared;
	for (size_t i = 0; i < w->partition_n; i++)
		if (holds_user(&w->partitions[i].shared, user))
			return &w->partitions[i].shared;
	return &w->partitions[store_partition_for_new(user, w->partition_n)].shared;
}

size_t store_partition_count(const struct store_worker *w)
{
	return w->partition_n;
}

struct store_partition *store_partition_at(struct store_worker *w, size_t at)
{
	return &w->partitions[at].shared;
}

/* ---- sessions ---- */

static void leave_if_last(const struct store_worker *w)
{
	if (w->leaves && w->session_n == 0)
		worker_drained(w->worker);
}

void store_session_begin(struct store_session *s, const struct store_session_class *class,
    struct store_worker *w, const struct store_listener_conf *lc)
{
	s->class = class;
	s->worker = w;
	s->listener = lc;
	s->conf = conf_ref(w->conf);
	s->id = ident_new();
	s->draining = w->draining;
	list_add_tail(&w->sessions, &s->link);
	w->session_n++;
	metric_add(&store_metrics[STORE_M_SESSIONS], 1);
	metric_add(&store_metrics[STORE_M_SESSIONS_TOTAL], 1);
	doors_enter(w->doors, lc->head.title);
}

void store_session_end(struct store_session *s)
{
	struct store_worker *w = s->worker;
	list_remove(&s->link);
	w->session_n--;
	metric_sub(&store_metrics[STORE_M_SESSIONS], 1);
	doors_leave(w->doors, s->listener->head.title);
	conf_unref(&s->conf);
	leave_if_last(w);
}

/* ---- listeners ---- */

static const struct store_listener_conf *listener_conf(const struct conf *c, const char *name)
{
	const struct store_conf *s = store_options(c);
	for (size_t i = 0; i < s->listener_n; i++)
		if (strcmp(s->listener[i]->head.title, name) == 0)
			return s->listener[i];
	return NULL;
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	struct store_worker *w = OBJ(store_worker, arg);
	const struct store_listener_conf *lc = listener_conf(w->conf, name);
	if (lc == NULL)
		accepted_close(a);
	else
		protocols[lc->protocol].start(w, a, lc);
}

/* A listener that is configured no longer takes connections, too, and closes them: who comes need not wait. */
static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct store_worker *w = OBJ(store_worker, arg);
	const struct store_listener_conf *lc = listener_conf(w->conf, name);
	if (lc != NULL)
		*out = (struct door_settings){ .proxy_from = lc->proxy_from,
			.proxy_ms = PROXY_HEADER_MS,
			.sessions_max = (size_t)lc->sessions_max };
	return true;
}

/* Clients wait in the accept queues until every committer is there, but not for ever: what is whole may serve. */
static void open_all_doors(void *arg)
{
	struct store_worker *w = OBJ(store_worker, arg);
	timer_clear(&w->opening);
	doors_pause(w->doors, false);
}

static void open_door(void *arg, const struct daemon_listener *at, int fd)
{
	struct store_worker *w = OBJ(store_worker, arg);
	doors_add(w->doors, at->name, fd);
}

static void make_tls(struct store_worker *w)
{
	struct span peers = store_options(w->conf)->lmtp_ca.bytes;
	for (size_t i = 0; i < STORE_PROTOCOL_COUNT; i++) {
		struct tls_ctx *fresh = daemon_tls_server_asking(
		    w->conf, protocols[i].alpn, i == STORE_LMTP ? peers : SPAN_NONE, NULL);
		tls_ctx_unref(&w->tls[i]);
		w->tls[i] = fresh;
	}
	tls_ctx_unref(&w->tls_client);
	if (store_options(w->conf)->peer_n > 0)
		w->tls_client = daemon_tls_client(w->conf, TLS_VERIFY_NAME, NULL);
}

/* ---- partitions ---- */

static void tell_health(struct store_worker *w)
{
	bool all = true;
	for (size_t i = 0; i < w->partition_n; i++)
		all = all && w->partitions[i].shared.index != NULL;
	worker_set_healthy(w->worker, all);
	if (all)
		open_all_doors(w);
}

/* The committer is there; another epoch is another index file with the same content. */
static void on_ready(void *arg, uint64_t epoch)
{
	struct open_partition *p = OBJ(open_partition, arg);
	err_t err = ERR_OK;
	if (p->shared.index != NULL && p->epoch == epoch)
		return;
	index_close(&p->shared.index);
	p->shared.index = index_open(p->index_dir, &err);
	p->epoch = epoch;
	if (p->shared.index == NULL)
		log_write(&store_events[STORE_EV_INDEX_UNREADABLE], NULL,
		    LOG_FIELDS(LOG_STR("partition", p->shared.name), LOG_ERR("err", err)));
	tell_health(p->worker);
}

static void open_partition(struct store_worker *w, const struct store_partition_conf *pc)
{
	struct open_partition *p = &w->partitions[w->partition_n++];
	char log_dir[1024], socket[STORE_SOCKET_PATH_SIZE];
	p->magic = open_partition_MAGIC;
	p->worker = w;
	p->shared.name = pc->head.title;
	p->shared.path = pc->path;
	snprintf(p->index_dir, sizeof p->index_dir, "%s/index", pc->path);
	snprintf(log_dir, sizeof log_dir, "%s/log", pc->path);
	CHECK(store_socket_path(w->conf, pc->head.title, socket));
	p->shared.reader = commitlog_reader_open(log_dir);
	struct operation_link_opts opts = {
		.path = socket,
		.deadline_ms = store_options(w->conf)->commit_timeout,
		.waiting_max = WAITING_OPERATIONS_MAX,
		.waiting_bytes_max = WAITING_BYTES_MAX,
		.on_ready = on_ready,
		.arg = p,
	};
	p->shared.link = operation_link_new(worker_loop(w->worker), &opts);
	p->shared.shelf = selected_shelf_new();
	p->shared.text_fill = text_fill_new(worker_loop(w->worker), &p->shared);
}

/* ---- the role ---- */

void store_worker_start(struct worker *worker)
{
	struct store_worker *w = MEM_NEW(struct store_worker);
	w->magic = store_worker_MAGIC;
	w->worker = worker;
	w->conf = conf_ref(worker_conf(worker));
	w->first = conf_ref(w->conf);
	w->dns = daemon_dns(worker_loop(worker), w->conf);
	w->directory = directory_new(worker_loop(worker), w->dns, w->conf);
	list_init(&w->sessions);
	worker_set_data(worker, w);
	w->doors = doors_new(&(struct doors_opts){ .loop = worker_loop(worker),
	    .settings = settings_of,
	    .accepted = on_accepted,
	    .arg = w });
	doors_pause(w->doors, true);
	timer_init(&w->opening, worker_loop(worker), open_all_doors, w);
	timer_set(&w->opening, OPEN_WITHIN_MS);
	const struct store_conf *s = store_options(w->conf);
	for (size_t i = 0; i < s->partition_n && i < STORE_PARTITIONS_MAX; i++)
		open_partition(w, s->partition[i]);
	tell_health(w);
	make_tls(w);
	worker_each_listener(worker, open_door, w);
}

static struct store_worker *of(struct worker *worker)
{
	struct store_worker *w = worker_data(worker);
	return OBJ(store_worker, w);
}

void store_worker_reload(struct worker *worker, const struct conf *fresh)
{
	struct store_worker *w = of(worker);
	conf_unref(&w->conf);
	w->conf = conf_ref(fresh);
	directory_reload(w->directory, fresh);
	make_tls(w);
	doors_reload(w->doors);
	worker_each_listener(worker, open_door, w);
}

static void on_doors_left(void *arg)
{
	struct store_worker *w = OBJ(store_worker, arg);
	w->leaves = true;
	leave_if_last(w);
}

void store_worker_retire(struct worker *worker)
{
	struct store_worker *w = of(worker);
	timer_clear(&w->opening);
	doors_retire(w->doors, on_doors_left, w);
}

void store_worker_drain(struct worker *worker)
{
	struct store_worker *w = of(worker);
	struct list_node *next;
	w->draining = w->leaves = true;
	doors_drain(w->doors);
	leave_if_last(w);
	for (struct list_node *n = w->sessions.next; n != &w->sessions; n = next) {
		struct store_session *s = LIST_OF(struct store_session, link, n);
		next = n->next;
		store_session_drain(s);
	}
}

bool store_worker_control(struct worker *worker, const struct control_ask *ask, struct buf *out)
{
	struct store_worker *w = of(worker);
	if (strcmp(ask->words[0], "who") != 0)
		return false;
	buf_add_char(out, '[');
	for (struct list_node *n = w->sessions.next; n != &w->sessions; n = n->next) {
		const struct store_session *s = LIST_OF(struct store_session, link, n);
		if (n != w->sessions.next)
			buf_add_char(out, ',');
		s->class->describe(s, out);
	}
	buf_add_char(out, ']');
	return true;
}

void store_worker_stop(struct worker *worker)
{
	struct store_worker *w = of(worker);
	timer_clear(&w->opening);
	while (!list_empty(&w->sessions)) {
		struct store_session *s = LIST_OF(struct store_session, link, w->sessions.next);
		s->class->end(s);
	}
	doors_free(&w->doors);
	for (size_t i = 0; i < w->partition_n; i++) {
		operation_link_free(&w->partitions[i].shared.link);
		selected_shelf_free(&w->partitions[i].shared.shelf);
		text_fill_free(&w->partitions[i].shared.text_fill);
		index_close(&w->partitions[i].shared.index);
		commitlog_reader_close(&w->partitions[i].shared.reader);
	}
	for (size_t i = 0; i < STORE_PROTOCOL_COUNT; i++)
		tls_ctx_unref(&w->tls[i]);
	tls_ctx_unref(&w->tls_client);
	directory_free(&w->directory);
	dns_free(&w->dns);
	conf_unref(&w->conf);
	conf_unref(&w->first);
	mem_free(w);
}
