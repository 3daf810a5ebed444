/* partition_events.c - events to a Redis stream. Before: index_event.c, which keeps them in the index with the change
 * they tell of; after: whoever reads the stream.
 *
 * Only what is committed is sent, in order, a bounded number ahead of the answers; what Redis has not confirmed
 * is sent once more when it is back, so each comes at least once, and its id says when it comes again. How far it
 * has come goes into the log with the next round of housekeeping. While Redis is away they wait in the index.
 *
 * Owns the way to Redis. */
#include "base/check.h"
#include "base/mem.h"
#include "metermaid/redis_stream.h"
#include "store-backend/partition_internal.h"

enum {
	AHEAD_MAX = 256, /* sent and not confirmed */
	DONE_MOST = 5000,
	RETRY_MS = 1000
};

#define feeder_MAGIC 0xfeede400u

struct feeder {
	uint32_t magic;
	struct partition *p;         /* borrowed */
	struct redis_stream *stream; /* owned */
	struct timer retry;
	struct index_event_id ahead[AHEAD_MAX]; /* a ring, in order */
	size_t first, n;
	struct index_event_id asked; /* the last that was sent */
	struct index_event_id sent;  /* the last that was confirmed */
	struct index_event_id noted; /* what the log knows of that */
	bool more;                   /* the last look did not see the end */
	bool lost;                   /* what is ahead is to be sent once more */
};

static bool send_row(void *arg, struct index_event_id id, uint64_t wall_s, struct span json)
{
	struct feeder *f = arg;
	f->more = f->n == AHEAD_MAX;
	if (f->more)
		return false;
	if (!redis_stream_add(f->stream, SPAN("event"), json)) {
		f->lost = true;
		return false;
	}
	f->ahead[(f->first + f->n++) % AHEAD_MAX] = id;
	f->asked = id;
	return true;
}

static void go_on(struct feeder *f)
{
	if (f->lost && f->n == 0) {
		f->lost = false;
		f->asked = f->sent;
	}
	if (f->lost || f->n > AHEAD_MAX / 2 || f->p->failed || !redis_stream_is_up(f->stream))
		return;
	index_writer_each_event(f->p->writer, f->asked, send_row, f);
	redis_stream_push(f->stream);
	if (f->lost && f->n == 0)
		timer_set(&f->retry, RETRY_MS);
}

/* Answers come in the order of the calls. After a loss all that follow are lost too. */
static void on_added(void *arg, bool taken)
{
	struct feeder *f = OBJ(feeder, arg);
	struct index_event_id id = f->ahead[f->first];
	CHECK(f->n > 0);
	f->first = (f->first + 1) % AHEAD_MAX;
	f->n--;
	if (!taken) {
		f->lost = true;
		timer_set(&f->retry, RETRY_MS);
		return;
	}
	if (!f->lost)
		f->sent = id; /* else it is sent once more, or was before a rewind */
	metric_add(&store_metrics[STORE_M_EVENTS], 1);
	if ((f->more && f->n < AHEAD_MAX / 4) || (f->lost && f->n == 0))
		timer_set(&f->retry, 0);
}

static void on_retry(void *arg)
{
	go_on(OBJ(feeder, arg));
}

static void on_up(void *arg)
{
	struct feeder *f = OBJ(feeder, arg);
	log_write(&store_events[STORE_EV_EVENTS_BACK], NULL,
	    LOG_FIELDS(LOG_STR("partition", f->p->name),
		LOG_U64("n", index_writer_event_count(f->p->writer))));
	timer_set(&f->retry, 0);
}

void feeder_kick(struct partition *p)
{
	if (p->feeder != NULL)
		go_on(p->feeder);
}

/* Events that nobody takes must not fill the index. */
static size_t too_many(struct partition *p)
{
	uint64_t n = index_writer_event_count(p->writer);
	metric_set(&store_metrics[STORE_M_EVENTS_WAITING], n);
	uint64_t over = n > p->settings.events_max ? n - p->settings.events_max : 0;
	if (over > DONE_MOST)
		over = DONE_MOST;
	return (size_t)over;
}

static bool same_id(struct index_event_id a, struct index_event_id b)
{
	return a.at == b.at && a.n == b.n;
}

bool feeder_in_batch(struct partition *p)
{
	struct feeder *f = p->feeder;
	uint64_t keep = p->settings.events_keep_s;
	if (f == NULL)
		return false;
	struct index_events_done done = { .sent = f->sent,
		.before_s = p->wall_s > keep ? p->wall_s - keep : 0,
		.over = too_many(p),
		.most = DONE_MOST };
	bool due = !same_id(f->sent, f->noted) || done.over > 0 ||
		   index_writer_events_due(p->writer, &done);
	err_t err = due ? record_events(p, &done) : ERR_BUSY;
	if (err == ERR_NO_SPACE || err == ERR_BUSY)
		return false; /* another time */
	if (err) {
		partition_fail(p, "log", err);
		return false;
	}
	f->noted = f->sent;
	if (done.over > 0)
		log_write(&store_events[STORE_EV_EVENTS_LOST], NULL,
		    LOG_FIELDS(LOG_STR("partition", p->name), LOG_U64("n", done.over)));
	p->keep_full = index_events_done(p->txn, &done) == DONE_MOST || p->keep_full;
	return true;
}

/* ---- once more ------------------------------------------------------------------------------------------------- */

struct search {
	uint64_t since_s;
	struct index_event_id before; /* the last that is older */
};

static bool is_older(void *arg, struct index_event_id id, uint64_t wall_s, struct span json)
{
	struct search *s = arg;
	if (wall_s >= s->since_s)
		return false;
	s->before = id;
	return true;
}

bool feeder_rewind(struct partition *p, uint64_t since_s)
{
	struct feeder *f = p->feeder;
	struct search s = { .since_s = since_s };
	struct index_event_id start = { 0 };
	if (f == NULL)
		return false;
	index_writer_each_event(p->writer, start, is_older, &s);
	f->sent = s.before;
	f->lost = true; /* what is ahead comes twice */
	if (f->n == 0)
		timer_set(&f->retry, 0);
	return true;
}

/* ---- construction ------------------------------------------------------------------------------------------------ */

struct feeder *feeder_new(struct partition *p, const struct partition_events *opts)
{
	struct feeder *f = MEM_NEW(struct feeder);
	*f = (struct feeder){ .magic = feeder_MAGIC, .p = p };
	f->sent = f->noted = f->asked = index_writer_events_sent(p->writer);
	timer_init(&f->retry, p->loop, on_retry, f);
	f->stream = redis_stream_new(p->loop, opts->dns, opts->conf,
	    &(struct redis_stream_opts){ .name = opts->stream,
		.max = opts->stream_max,
		.on_up = on_up,
		.on_added = on_added,
		.arg = f });
	return f;
}

void feeder_free(struct feeder **fp)
{
	struct feeder *f = *fp;
	if (f == NULL)
		return;
	f->lost = true; /* whatever is answered now */
	redis_stream_free(&f->stream);
	timer_clear(&f->retry);
	f->magic = 0;
	MEM_FREE(fp);
}
