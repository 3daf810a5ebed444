/* queue_internal.h - the queue's objects, for queue*.c, deliver.c and bounce.c only. */
#ifndef EDGE_QUEUE_INTERNAL_H
#define EDGE_QUEUE_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "edge/channel.h"
#include "edge/edge_conf.h"
#include "edge/out_pool.h"
#include "edge/queue.h"
#include "edge/queue_filter.h"
#include "edge/queue_tables.h"

#define queue_MAGIC 0x90e0e001u
#define q_entry_MAGIC 0x90e0e002u
#define q_item_MAGIC 0x90e0e003u
#define q_dest_MAGIC 0x90e0e004u
#define q_delivery_MAGIC 0x90e0e005u

enum {
	LOOKUPS_MAX = 200, /* questions to the directory at the same time */
	BATCH_MAX = 100,   /* recipients of one delivery */
	PROGRESS_MAX = 16, /* progress records of a message before one snapshot replaces them */
	REASON_MAX = 200,
	RECENT_MS = 3600 * 1000, /* ids that are done are remembered for so long */
	RECENT_MAX = 200000,
	AGAIN_MS = 1000, /* after the log or the directory could not help */
};

enum q_state {
	Q_NEW,    /* not durable yet */
	Q_WAIT,   /* in the heap; perhaps also in its destination's list of what it holds up */
	Q_HELD,   /* an operator holds it: it waits for no time */
	Q_LOOKUP, /* the directory is asked */
	Q_READY, /* in its destination's list, or waits for its message's other lookups to join it */
	Q_RUNNING, /* part of a delivery */
	Q_FINAL    /* fate says how it ended */
};

/* One recipient. */
struct q_item {
	uint32_t magic;
	struct q_entry *entry;
	enum q_state state; /* only item_set_state() writes this */
	enum spool_fate fate;
	struct heap_node due;
	struct list_node link; /* Q_READY: q_dest.ready; Q_WAIT: q_dest.held, or in no list */
	struct q_dest *dest;   /* the last one; may be NULL */
	struct ticket *ask;    /* Q_LOOKUP */
	char *address, *user, *detail; /* user NULL: to be relayed */
	char *orcpt;                   /* NULL: not given */
	char *route;                   /* where an operator sends it; NULL: the usual way */
	bool on_hold;                  /* does not wait but is held, from the next attempt on */
	unsigned notify;               /* SMTP_NOTIFY_*, 0: its sender did not say */
	uint32_t attempts;
	uint64_t due_us; /* wall clock, as it stands in the log */
	uint16_t code;
	char enhanced[12];
	char *reason; /* of the last attempt, at most REASON_MAX; NULL: none yet */
};

/* One message. */
struct q_entry {
	uint32_t magic;
	struct queue *queue;
	struct list_node link; /* in queue.entries, oldest first */
	struct ident id, session;
	uint64_t arrived_us;
	char *sender, *envid; /* sender "": null; envid NULL: none */
	bool trusted;
	enum smtp_ret ret;
	enum spool_report report;    /* it is one itself */
	enum spool_report reporting; /* while ask is: what its sender is to be told */
	unsigned notices;            /* of delay, sent so far */
	bool body_8bit;
	bool require_tls;
	struct spool_body body;
	struct q_item *items;
	size_t item_count;
	size_t open;    /* items that are not Q_FINAL */
	size_t active;  /* items in Q_LOOKUP, Q_READY, Q_RUNNING */
	size_t lookups; /* items in Q_LOOKUP */
	struct soon go; /* no lookup is left: what is ready joins its destinations */
	log_pos progress[PROGRESS_MAX];
	size_t progress_count;
	bool unsaved;        /* the log did not take what became of it: tried again */
	struct ticket *sync; /* until it is durable */
	struct ticket *ask;  /* may its sender be told? */
	struct timer again;  /* unsaved, or the sender could not be looked up */
};

struct q_dest {
	uint32_t magic;
	struct queue *queue;
	enum q_dest_kind kind;
	char *name; /* store, domain, relay host, or a route as an operator gave it */
	struct list_node ready, held;
	size_t ready_count, held_count, running;
	size_t refs; /* items whose dest it is */
	struct list_node
	    stalled;   /* in q_channel.stalled or .strange: could run but for a limit over all */
	bool proven;   /* its last delivery went well; only dest_prove() writes this */
	size_t window; /* deliveries that may run: grows with what goes well */
	uint64_t backoff_ms;    /* 0: it takes mail */
	uint64_t down_until_ms; /* until then everything for it is held */
	struct timer probe;     /* then some of the held are tried */
};

/* A recent id, done. */
struct q_recent {
	struct list_node link;
	struct ident id;
	uint64_t at_us;
	log_pos pos;
};

/* A kind of destination. */
struct q_channel {
	struct channel limits;
	size_t running;
	struct list_node stalled, strange; /* destinations: proven ones, and the others */
};

struct queue {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	struct directory *directory;
	const struct conf *conf;      /* owned reference */
	const struct edge_conf *edge; /* of conf */
	const char *hostname;         /* of conf */
	bool unsafe_no_sync;
	struct spool *spool; /* NULL: cannot be used now */
	struct timer reopen;
	struct out_pool *pool;
	struct map *by_id, *recent_by_id, *dests;
	struct list_node entries, recent, deliveries;
	struct q_channel channels[DEST_KINDS];
	struct heap due;
	struct timer due_timer, prune_timer;
	size_t items_open, lookups, running, recent_count;
	size_t strange_running; /* of running, those to destinations that are not proven */
	void (*on_close)(void *arg);
	void *on_close_arg;
	bool draining;
	void (*on_drained)(void *arg);
	void *on_drained_arg;
	struct soon drained;
};

/* ---- queue.c: states and fates ------------------------------------------------------------------ */

void item_set_state(struct q_item *it, enum q_state to);
void item_wait(struct q_item *it, uint64_t delay_ms);
/* One attempt ended. The caller then saves and settles the entry. */
void item_outcome(struct q_item *it, const struct outcome *o);
/* Appends what became of these items to the log. */
void entry_save(struct q_entry *e, struct q_item *const *items, size_t n);
/* Nothing more to do for it? Told, done, forgotten; may free e. */
void entry_settle(struct q_entry *e);
void entry_add_known(struct queue *q, log_pos pos, const struct spool_message *m);
uint64_t item_delay_ms(const struct q_item *it);
const struct channel *item_channel(
    const struct q_item *it); /* of its last way, or the likely one */
size_t item_index(const struct q_item *it);
/* Goes on with what is due. */
void queue_pump(struct queue *q);
void entry_free(struct q_entry *e);
void queue_check_drained(struct queue *q);

/* ---- queue_route.c: where does a recipient go? ------------------------------------------------------ */

void item_route(struct q_item *it);
void dest_ready(struct q_dest *d, struct q_item *it);
void entry_on_go(void *entry);
struct q_dest *dest_get(struct queue *q, enum q_dest_kind kind, const char *name);
void dest_run(struct q_dest *d);
void dest_is_down(struct q_dest *d, const char *why);
void dest_is_up(struct q_dest *d);
void dest_begin(struct q_dest *d);   /* a delivery begins */
void dest_end(struct q_dest *d);     /* it is over; d stays */
void dest_release(struct q_dest *d); /* the same, and what else is ready may go; may free d */
void dest_unlink(struct q_item *it); /* takes it out of its destination's lists */
void dest_hold(struct q_item *it);   /* Q_WAIT: sent at once when its destination is up again */
void item_set_dest(struct q_item *it, struct q_dest *d);
void dests_free(struct queue *q);
void queue_run_stalled(struct queue *q);

/* ---- queue_spool.c: the log, its replay, what is durable ------------------------------------------- */

void queue_open(struct queue *q);
void queue_close(struct queue *q);
void recent_add(struct queue *q, const struct spool_done *d, log_pos pos);
void recent_prune(struct queue *q, uint64_t now_us);

/* ---- queue_list.c, queue_control.c ---- */

struct queue_facts item_facts(const struct q_item *it, uint64_t now_us);
void queue_list(struct queue *q, const struct queue_filter *f, size_t rows_max, struct buf *out);
void queue_show(const struct q_entry *e, struct buf *out);
bool queue_cat(const struct q_entry *e, uint64_t from, struct buf *out); /* false: unreadable */

/* "host", "host:port", "[v6]:port"; port 0: none given. */
enum { ROUTE_HOST_SIZE = 256 };
bool route_split(struct span route, char host[ROUTE_HOST_SIZE], uint16_t *port_out);

/* ---- deliver.c ---- */

void deliver_start(struct q_dest *d, struct q_item *const *items, size_t n);
void deliveries_free(struct queue *q);

/* ---- bounce.c ---- */

/* Of an entry at rest: tells the sender what was refused, or sent where it asked for that, or decides
 * that nobody is told. Ends with their fate SPOOL_TOLD and entry_settle(). */
void bounce_start(struct q_entry *e);
/* Has it waited so long that its sender is to be told? */
bool bounce_delay_is_due(const struct q_entry *e);
void bounce_delay(struct q_entry *e);

/* ---- report.c ---- */

/* Is this recipient one of those that a report of this kind is about? */
bool report_has(const struct q_item *it, enum spool_report kind);
/* The whole notification (RFC 3464) with this id; true: it fits. */
bool report_put(struct buf *out, const struct q_entry *e, struct ident id, const char *to);

#endif
