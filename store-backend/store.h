/* store.h - what the sessions of one access worker share, and how a protocol plugs in.
 *
 * A listener's protocol word picks a row of the table in accept.c; its start function takes the
 * accepted socket and makes a session of its own kind, which begins with a struct store_session as
 * first member and registers it. The worker drains and stops sessions through it. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/list.h"
#include "base/log.h"
#include "base/metric.h"
#include "commitlog/commitlog.h"
#include "conf/conf.h"
#include "directory/directory.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/tls_ctx.h"
#include "store-backend/index.h"
#include "store-backend/operation.h"
#include "store-backend/store_conf.h"

struct store_worker;

/* One partition as an access worker sees it. All of it lives as long as the worker; index may be NULL
 * while the committer has not been there yet (index_view_begin(NULL) gives NULL). */
struct store_partition {
	const char *name;
	const char *path; /* its folder */
	struct index *index;
	struct commitlog_reader *reader;
	struct operation_link *link;
	unsigned marks_asked;         /* of quota_tell.c */
	struct selected_shelf *shelf; /* of IMAP */
	struct text_fill *text_fill;  /* of IMAP */
};

struct loop *store_worker_loop(struct store_worker *w);
const char *store_worker_hostname(const struct store_worker *w);
struct directory *store_worker_directory(struct store_worker *w);

/* The newest configuration; a session keeps the snapshot it began with:
 * s->conf = conf_ref(store_worker_conf(w)), s->opts = store_options(s->conf). */
const struct conf *store_worker_conf(const struct store_worker *w);
const struct store_conf *store_options(const struct conf *c);

/* NULL: no TLS here (no certificate, or the listener says none). alpn is the protocol's name. Borrowed:
 * tls_ctx_ref() to keep it. */
const struct tls_ctx *store_worker_tls(struct store_worker *w, enum store_protocol protocol);

/* For connections to other stores: NULL: its settings cannot be used. */
const struct tls_ctx *store_worker_tls_client(struct store_worker *w);
struct dns *store_worker_dns(struct store_worker *w);

/* The partition that holds the user, or in which a new one is to be made. Never NULL. */
struct store_partition *store_partition_of(struct store_worker *w, struct span user);
/* All of them: at < store_partition_count(), in the order of the configuration. */
size_t store_partition_count(const struct store_worker *w);
struct store_partition *store_partition_at(struct store_worker *w, size_t at);

/* ---- sessions ------------------------------------------------------------------------------------ */

struct store_session;

struct store_session_class {
	const char *protocol; /* "imap" */
	/* The worker is to stop: say goodbye at the next safe point and end. */
	void (*drain)(struct store_session *s);
	void (*end)(struct store_session *s); /* free it now, without a word */
	void (*describe)(const struct store_session *s, struct buf *out); /* one JSON object */
};

struct store_session {
	const struct store_session_class *class;
	struct store_worker *worker;
	const struct store_listener_conf *listener; /* of the snapshot held by conf */
	struct conf *conf;                          /* reference, dropped by store_session_end() */
	struct ident id; /* made at start; replaced by the edge's own when it
	                                                    is trusted and says one */
	struct list_node link;
	bool probe;    /* a balancer's health check: log nothing */
	bool draining; /* the worker does: the greeting is a goodbye */
};

/* Registers s, takes the reference and makes the id; the last act of a session's destructor is
 * store_session_end(), which may resume accepting or finish a drain. */
void store_session_begin(struct store_session *s, const struct store_session_class *class,
    struct store_worker *w, const struct store_listener_conf *lc);
void store_session_end(struct store_session *s);

/* The worker drains: it is to say goodbye as soon as it may, and may be gone afterwards. */
static inline void store_session_drain(struct store_session *s)
{
	s->draining = true;
	s->class->drain(s);
}

/* Owns a->fd from here on. Never fails: what cannot be served is closed. One of these per protocol;
 * lmtp/lmtp_session.h, imap/imap_session.h and pop3/pop3_session.h declare theirs. */
typedef void store_session_start_fn(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc);

/* ---- log rows and counters of the program --------------------------------------------------------- */

enum store_event {
#define EVENT(id, name, level, fields, prose) STORE_EV_##id,
#include "store-backend/store.events.def"
#undef EVENT
	STORE_EV_COUNT
};
extern const struct log_event store_events[];

enum store_metric {
#define METRIC(id, name, kind, help) STORE_M_##id,
#include "store-backend/store.metrics.def"
#undef METRIC
	STORE_M_COUNT
};
extern struct metric store_metrics[];

#endif
