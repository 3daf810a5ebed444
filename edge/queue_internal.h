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
#include "edge/cause.h"
#include "edge/run_ask.h"
#include "edge/shelf.h"
#include "edge/sts.h"
#include "edge/tls_mail.h"
#include "edge/withdrawn.h"
#include "proto/priority.h"

#define queue_MAGIC 0x90e0e001u
#define q_entry_MAGIC 0x90e0e002u
#define q_item_MAGIC 0x90e0e003u
#define q_dest_MAGIC 0x90e0e004u
#define q_delivery_MAGIC 0x90e0e005u

enum {
	LOOKUPS_MAX = 200, /* questions to the directory at the same time */
	CALLED_MAX = 200,  /* messages on their way from the shelf to their destination */
	PROGRESS_MAX = 16, /* progress records of a message before one snapshot replaces them */
	REASON_MAX = 200,
	ENDED_MINUTES = 60, /* ids that are done are remembered for so long */
	ENDED_MAX = 200000,
	LOADED_BYTES = 1024 * 1024, /* of messages in memory that nothing is done for now */
	DESTS_MAX =
	    SHELF_OWNER_MAX, /* with lists of their own; messages for more wait one by one */
	KNOWN_MAX = 1000,    /* that take mail and are remembered though there is none for them */
	AGAIN_MS = 1000,     /* after the log or the directory could not help */
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

/* Where a message's time went, in ms: before it was in the queue, there, until the envelope could be said (looking up,
 * waiting for a connection, making one), and with the next hop. total 0: not known. */
struct q_delays {
	uint64_t before, queued, setup, talk, total;
};
enum { DELAYS_SIZE = 100 };
/* "0.010/2.500/0.100/0.350", in seconds; "" when it is not known. */
const char *delays_text(const struct q_delays *d, char out[DELAYS_SIZE]);

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
	/* Where an operator sends it (queue_channel.c), or past a station; NULL: the usual way. */
	char *route;
	char *place;     /* where it goes since it came in: "channel:NAME" (channel.h); or NULL */
	bool tried;      /* it was given to the runner */
	bool on_hold;    /* does not wait but is held, from the next attempt on */
	unsigned notify; /* SMTP_NOTIFY_*, 0: its sender did not say */
	uint32_t attempts;
	uint64_t due_us; /* wall clock, as it stands in the log */
	uint16_t code;
	char enhanced[12];
	char *reason;           /* of the last attempt, at most REASON_MAX; NULL: none yet */
	char *remote;           /* the host whose words it is; NULL: ours */
	struct q_delays delays; /* at the end of the last attempt, while it stays in memory */
};

/* One message that is in memory. */
struct q_entry {
	uint32_t magic;
	struct queue *queue;
	struct list_node link;    /* in queue.entries, in the order in which they came here */
	struct list_node rest;    /* in queue.resting: nothing is done for it */
	uint32_t row;             /* its place on the shelf */
	size_t bytes;             /* about: what it takes here */
	struct q_dest *called_by; /* loaded for this one, and not there yet */
	struct ident id, session;
	uint64_t arrived_us;
	uint64_t added_us;               /* 0: before it was read from the log, when is not known */
	char *sender, *envid;            /* sender "": null; envid NULL: none */
	char *auth_user;                 /* NULL: nobody */
	unsigned stage;                  /* STAGE_*: the last station that it has passed */
	bool trusted, aligned, disowned; /* see spool_message */
	bool fresh;                      /* it came to this process: no other one has tried it */
	bool withdrawn;
	enum smtp_ret ret;
	enum spool_report report;    /* it is one itself */
	enum spool_report reporting; /* while ask is: what its sender is to be told */
	unsigned notices;            /* of delay, sent so far */
	bool body_8bit, smtputf8;
	int priority; /* -9 to 9 */
	bool require_tls, tls_optional;
	struct spool_body body;
	struct q_item *items;
	size_t item_count;
	size_t open;    /* items that are not Q_FINAL */
	size_t active;  /* items in Q_LOOKUP, Q_READY, Q_RUNNING */
	size_t lookups; /* items in Q_LOOKUP */
	size_t running; /* items in Q_RUNNING */
	struct soon go; /* no lookup is left: what is ready joins its destinations */
	log_pos progress[PROGRESS_MAX];
	size_t progress_count;
	bool unsaved;        /* the log did not take what became of it: tried again */
	struct ticket *sync; /* until it is durable */
	struct ticket *ask;  /* may its sender be told? */
	struct timer again;  /* unsaved, or the sender could not be looked up */
};

/* How much TLS a message itself wants, or does not. Those that want different things of a place have a destination each:
 * what one has to wait for holds up no other. */
enum q_wish {
	WISH_USUAL,
	WISH_TLS,      /* REQUIRETLS */
	WISH_NO_POLICY /* TLS-Required: no, or a report of TLS: policies of the domain do not count */
};

/* What a delivery tells of its destination. */
enum q_word {
	Q_WORD_GOOD,
	Q_WORD_COMPLAINT, /* it says that something is wrong there, not with a mailbox or the message */
	Q_WORD_DOWN       /* it says nothing, or the way there is broken */
};

struct q_dest {
	uint32_t magic;
	struct queue *queue;
	enum q_dest_kind kind;
	enum q_wish wish;
	char *name; /* store, domain, relay host, or a route as an operator gave it */
	struct list_node ready[PRIORITY_CLASSES], held;
	unsigned turn; /* which class of ready is asked first: see run_one() */
	size_t ready_count, held_count, running;
	size_t refs;             /* items whose dest it is */
	uint32_t number;         /* in queue.numbered, 0: none yet */
	struct shelf_list shelf; /* messages that wait for it alone, not in memory */
	size_t called;           /* those that are on their way here */
	struct list_node known; /* in queue.known: nothing refers to it, but it has proven itself */
	struct list_node calls; /* in queue.callers: may call when others have what they called */
	struct list_node
	    stalled;   /* in q_channel.stalled or .strange: could run but for a limit over all */
	bool proven;   /* its last delivery went well; only dest_prove() writes this */
	size_t window; /* deliveries that may run: grows with what goes well */
	uint64_t backoff_ms;    /* 0: it takes mail */
	enum cause reason;      /* of the last attempt that ended here */
	uint32_t failures;      /* in a row, while backoff_ms is not 0 */
	unsigned complaints;    /* in a row */
	bool speaks;            /* its last word was one of its own */
	uint64_t down_until_ms; /* until then everything for it is held */
	struct timer probe;     /* then some of the held are tried */
};

/* What the log said of a message at start that does not fit its row: progress behind the first, and a
 * report on it that stands in the log before progress says that. */
struct q_more {
	log_pos *v; /* owned */
	size_t n;
	bool told;
	size_t told_after; /* of row.progress and v */
	unsigned notices;
};

/* A kind of destination. */
struct q_channel {
	char *title; /* owned; of a named one, else NULL */
	const struct edge_channel_conf
	    *own; /* of a named one, of queue.conf; NULL: not configured any more */
	struct channel limits;
	size_t gauge; /* queue_gauge.h */
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
	struct sts *sts;
	struct tlsrpt *tlsrpt;
	struct tls_mail *tls_mail; /* tls_mail.c's; NULL: none is under way */
	struct map *dests;
	struct shelf *shelf;         /* every message, in memory or not, and ids that are done */
	struct withdrawn *withdrawn; /* owned; kept while the spool is closed */
	struct shelf_list ended;     /* those ids, oldest first */
	struct map *more;            /* q_more by row number */
	struct q_dest **numbered;    /* owned; by number */
	uint32_t numbered_n, number_hint;
	struct list_node entries, resting, deliveries, callers, known, scans;
	size_t known_count;
	size_t loaded, loaded_bytes, loaded_max;
	size_t called;
	uint64_t time_us,
	    time_ms; /* the wall clock when the loop's clock was that: see queue_now_us() */
	bool jumped;
	struct soon room;
	struct timer sweep_timer;
	uint32_t swept;   /* the last row that was looked at for its deadline */
	char *left_words; /* owned; of the order that did not get through the whole shelf */
	uint32_t left_at;
	struct q_channel channels[DEST_KINDS_MAX];
	size_t kind_n;               /* of them in use */
	struct queue_census *census; /* owned */
	struct pieces *pieces;       /* owned: defragment.c; NULL: none yet */
	struct heap due;
	struct timer due_timer, prune_timer;
	size_t items_open, lookups, running;
	size_t strange_running; /* of running, those to destinations that are not proven */
	struct {
		void (*fn)(void *arg);
		void *arg;
	} on_close[QUEUE_FRIENDS];
	void (*on_done)(void *arg, struct ident id);
	void *on_done_arg;
	struct spool_copier copier;     /* ask NULL: none */
	struct list_node tellings;      /* bounce.c: reports that wait for their turn */
	size_t telling_n, telling_runs; /* of all, and of those that are being written */
	bool still;                     /* another host is asked first what it has adopted */
	bool draining;
	void (*on_drained)(void *arg);
	void *on_drained_arg;
	struct soon drained;
};

/* Wall clock without its jumps, for ages and deadlines: what somebody does to the system's clock ends no message and
 * no memory before its time. */
uint64_t queue_now_us(const struct queue *q);
/* Small steps are followed, others are not before the next start. */
void queue_follow_clock(struct queue *q);

/* ---- queue.c: states and fates ------------------------------------------------------------------ */

void item_set_state(struct q_item *it, enum q_state to);
void item_wait(struct q_item *it, uint64_t delay_ms);
/* Why it is as it is, in words of this host (it->remote), or NULL: in ours. */
void item_set_reason(struct q_item *it, struct span text, struct span remote);
/* One attempt ended, at this host if the words are a next hop's. The caller then saves and settles the entry. */
void item_outcome(struct q_item *it, const struct outcome *o, const char *host);
/* queue_census.c: the counters of its channel. */
void entry_count_arrival(const struct q_entry *e);
void item_count_outcome(const struct q_item *it, enum fate fate);
/* May its sender be told, whoever that is? */
static inline bool entry_may_tell(const struct q_entry *e)
{
	return (e->trusted || e->aligned) && e->sender[0] != '\0';
}
/* Appends what became of these items to the log. */
void entry_save(struct q_entry *e, struct q_item *const *items, size_t n);
/* One record with the state of every recipient takes the place of all before it. */
void entry_snapshot(struct q_entry *e);
/* Nothing more to do for it? Told, done, forgotten; may free e. */
void entry_settle(struct q_entry *e);
/* In memory from now on; its row has to be SHELF_IDLE. */
struct q_entry *entry_new(
    struct queue *q, uint32_t row, log_pos pos, const struct spool_message *m);
void entry_count(struct queue *q); /* the metrics */
uint64_t item_delay_ms(const struct q_item *it);
const struct channel *item_channel(
    const struct q_item *it); /* of its last way, or the likely one */
uint64_t item_lifetime_ms(const struct q_item *it);
size_t item_index(const struct q_item *it);
/* Goes on with what is due. */
void queue_pump(struct queue *q);
static inline bool queue_rests(const struct queue *q)
{
	return q->draining || q->still;
}
void entry_free(struct q_entry *e); /* its row is SHELF_IDLE then */
void queue_check_drained(struct queue *q);

/* ---- queue_route.c: where does a recipient go? ------------------------------------------------------ */

void item_route(struct q_item *it);
void entry_on_go(void *entry);
/* Where a recipient goes that is not local. False: nowhere. *name_out points into the arguments or the configuration. */
bool way_out(const struct queue *q, const char *address, const char *route,
    enum q_dest_kind *kind_out, const char **name_out);

/* An end, or another wait, without any delivery. May free the entry. */
void item_conclude(
    struct q_item *it, enum fate fate, unsigned code, const char *enhanced, const char *text);

/* ---- queue_dest.c: does mail for there move? -------------------------------------------------------- */

struct q_dest *dest_get(struct queue *q, enum q_dest_kind kind, enum q_wish wish, const char *name);
void dest_ready(
    struct q_dest *d, struct q_item *it); /* it goes there, when all of its entry are known */
void dest_join(struct q_item *it);        /* now, or it is held */
void dest_run(struct q_dest *d);
/* A delivery has ended. True: it is down, and what was tried is to be held. */
bool dest_hears(struct q_dest *d, enum q_word word, const char *why);
bool dest_is_down(const struct q_dest *d); /* and nothing of what waits is to be tried yet */
void dest_begin(struct q_dest *d);         /* a delivery begins */
void dest_end(struct q_dest *d);           /* it is over; d stays */
void dest_release(struct q_dest *d);       /* the same, and what else is ready may go; may free d */
void dest_tidy(struct q_dest *d);          /* frees it when nothing refers to it */
bool dest_is_stalled(
    struct q_dest *d); /* a limit over all is reached; then it waits for its turn */
size_t dest_window(const struct q_dest *d);
void dest_unlink(struct q_item *it); /* takes it out of its destination's lists */
void dest_hold(struct q_item *it);   /* Q_WAIT: sent at once when its destination is up again */
void item_set_dest(struct q_item *it, struct q_dest *d);
void dests_free(struct queue *q);
void queue_run_stalled(struct queue *q);
void queue_run_all(struct queue *q); /* more may run than before, to whichever destination */

/* ---- queue_wish.c ---- */

/* The destination of this message's mail for a place. */
struct q_dest *dest_of(const struct q_entry *e, enum q_dest_kind kind, const char *name);
/* What one that is not local wants, by what its record says. */
enum q_wish wish_away(const struct spool_message *m);

/* ---- queue_channel.c: named channels ---------------------------------------------------------------- */

/* Stations in the order in which mail passes them. An item's route is ROUTE_PAST and the name of the type of the last
 * one, when it has passed it on its own; behind a space may stand the id of a message that it is becoming a part of. */
enum { STAGE_NONE, STAGE_REPROCESS, STAGE_DEFRAGMENT, STAGE_CONVERSION, STAGE_HOLD };
#define ROUTE_PAST "past:"

void queue_channels_set(struct queue *q); /* the configuration is new */
void queue_channels_end(struct queue *q);
struct span queue_kind_name(const struct queue *q, enum q_dest_kind kind); /* "smtp" */
/* Of the channel where it is or was last, or else the one that it goes to. */
struct span item_channel_name(const struct q_item *it);
size_t item_gauge(const struct q_item *it); /* queue_gauge.h */
/* The item is on its way to a named channel, or waits for it: true; the entry may be gone. */
bool item_to_channel(struct q_item *it);
/* The same of ends alone: the directory knows its user. */
bool item_to_end(struct q_item *it);
/* Its route when that is a host; NULL: it is none. */
const char *item_operator_route(const struct q_item *it);
bool item_has_hold_channel(const struct q_item *it);
/* Does a named channel have a say in where it goes? place: its store in the log, or empty. */
bool item_needs_channel(const struct q_item *it);
bool queue_needs_channel(const struct queue *q, struct span address, struct span place);
/* The channel that it goes to when it has passed all stations, as far as is known without a question. */
struct span item_out_channel(const struct q_item *it);
/* It goes on behind the station of this type. */
void item_set_past(struct q_item *it, enum channel_type type);
/* It is about to become a part of this message, and has its end with it; until it is saved nothing of that is known after a
 * crash. Kept until another station or an operator says where it goes. */
void item_set_part(struct q_item *it, const struct ident *whole);
/* It has become a part of a message that is there, or was a while ago. */
bool item_is_part(const struct q_item *it);
/* What a station has answered, but for outcomes. */
struct station_result;
void item_leave_station(struct q_item *it, const struct q_dest *d, const struct station_result *r);
/* It is held at a station, for this reason. */
void item_hold(struct q_item *it, const char *channel, const char *why);
/* To the runner. NULL: the channel is not configured any more. */
struct ticket *channel_deliver(
    struct q_dest *d, struct q_item *it, struct mail_source body, run_fn *fn, void *arg);

/* ---- queue_spool.c: the log, its replay, what is durable ------------------------------------------- */

void queue_open(struct queue *q);
void queue_close(struct queue *q);
void ended_add(struct queue *q, const struct spool_done *d, log_pos pos);
void ended_prune(struct queue *q, uint64_t now_us);
void item_apply(struct q_item *it, const struct spool_step *s); /* what a progress record says */

/* ---- queue_load.c: what is in memory of a long queue ------------------------------------------------ */

/* Nothing is done for e now; it may leave memory when others need the room, from the loop. */
void entry_rest(struct q_entry *e);
/* It has arrived, or its way leads elsewhere: the next may be called. */
void entry_called(struct q_entry *e);
/* NULL: it cannot be read now and is tried again. */
struct q_entry *row_load(struct queue *q, uint32_t row);
/* A message's row out of its place, whichever it is. */
void row_idle(struct queue *q, uint32_t row);
struct q_more *row_more(struct queue *q, uint32_t row, bool make);
void row_more_free(struct queue *q, uint32_t row);
/* A message that is due puts its row, SHELF_IDLE, in the list of this destination. False: there are too many
 * destinations. */
struct row_facts {
	uint64_t arrived_us;
	/* The age at which it is given up, or its sender told that it waits. */
	uint64_t deadline_ms;
};
bool row_list(struct queue *q, uint32_t row, struct q_dest *d, const struct row_facts *facts);
/* Brings messages that wait for d alone, as many as may run soon. */
void dest_call(struct q_dest *d);
void queue_make_room(struct queue *q); /* no entry is safe in it but those something is done for */
/* Loads what is due; false: there may be more that is. *wait_ms_out: until the next, UINT64_MAX: none. */
bool queue_load_due(struct queue *q, uint64_t *wait_ms_out);
size_t queue_messages(const struct queue *q);
void queue_load_init(struct queue *q);
void queue_load_end(struct queue *q);

/* ---- queue_list.c, queue_control.c ---- */

struct queue_facts item_facts(const struct q_item *it, uint64_t now_us);
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
/* The age at which it will be; UINT64_MAX: never, as things are. */
uint64_t bounce_delay_age_ms(const struct q_entry *e);
void bounce_delay(struct q_entry *e);

/* ---- report.c ---- */

/* Is this recipient one of those that a report of this kind is about? */
bool report_has(const struct q_item *it, enum spool_report kind);
/* The whole notification (RFC 3464) with this id; true: it fits. */
bool report_put(struct buf *out, const struct q_entry *e, struct ident id, const char *to);

#endif
