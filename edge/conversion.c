/* conversion.c - the station conversion: a message goes to the runner, which may change it (convert.c), and goes on as what
 * came back (part of step 6; before and after: deliver.c). Owns the question to the runner, then the file that it has
 * answered with. */
#include "edge/station.h"

#include <errno.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/convert.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"
#include "edge/run_outcome.h"

#define conversion_ticket_MAGIC 0x90e0e014u

static const char how[] = "conversion";

struct conversion_ticket {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	struct q_item *const *items; /* the delivery's */
	size_t n;
	struct ticket *ask;
	int fd; /* owned; -1: none */
	struct buf piece;
	struct soon soon;
	station_fn *fn;
	void *arg;
};

static void conversion_free(struct conversion_ticket *x)
{
	ticket_cancel(&x->ask);
	soon_clear(&x->soon);
	if (x->fd >= 0)
		close(x->fd);
	buf_end(&x->piece);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	conversion_free(OBJ(conversion_ticket, t));
}

static void give(struct conversion_ticket *x, const struct station_result *r)
{
	station_fn *fn = x->fn;
	void *arg = x->arg;
	conversion_free(x);
	fn(arg, r);
}

/* The same recipients of the same message: the same id. */
static struct ident id_of(const struct conversion_ticket *x)
{
	uint32_t crc = 0;
	for (size_t i = 0; i < x->n; i++) {
		size_t index = item_index(x->items[i]);
		crc = hash_crc32c(crc, &index, sizeof index);
	}
	return move_id(&x->items[0]->entry->id, how, crc);
}

static struct span read_file(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct conversion_ticket *x = arg;
	char *room;
	buf_clear(&x->piece);
	size_t want = buf_room(&x->piece, n, &room);
	ssize_t got = pread(x->fd, room, want, (off_t)at);
	*err_out = got < 0 ? err_from_errno(errno) : ERR_OK;
	buf_added(&x->piece, got > 0 ? (size_t)got : 0);
	return buf_span(&x->piece);
}

static void on_moved(void *arg, err_t err)
{
	struct conversion_ticket *x = OBJ(conversion_ticket, arg);
	struct station_result r = { .end = STATION_MOVED };
	x->ask = NULL;
	if (err) {
		r.end = STATION_OUTCOME;
		outcome_set(&r.outcome, FATE_LATER, 451, "4.3.0", span_str(move_why(err)));
	}
	give(x, &r);
}

static void move(struct conversion_ticket *x, uint64_t size)
{
	const struct q_entry *e = x->items[0]->entry;
	struct spool_recipient *to = mem_array(x->n, sizeof(*to));
	for (size_t i = 0; i < x->n; i++)
		move_recipient(x->items[i], &to[i]);
	struct move_opts o = { .id = id_of(x),
		.from = e,
		.sender = e->sender,
		.trusted = e->trusted,
		.keeps_wishes = true,
		.stage = STAGE_CONVERSION,
		.recipients = to,
		.recipient_n = x->n,
		.body = { read_file, x, size } };
	x->ask = move_start(&o, on_moved, x);
	mem_free(to);
}

/* What no program may make of a message. */
static bool is_good(const struct conversion_ticket *x, const struct stat *st)
{
	return st->st_size > 0 && (uint64_t)st->st_size <= 2 * x->queue->edge->message_size_max;
}

static void take_changed(struct conversion_ticket *x, const struct run_result *r)
{
	struct station_result out = { .end = STATION_OUTCOME };
	struct stat st;
	x->fd = dup(r->fd);
	if (x->fd >= 0 && fstat(x->fd, &st) == 0 && is_good(x, &st)) {
		move(x, (uint64_t)st.st_size);
		return;
	}
	outcome_set(&out.outcome, FATE_LATER, 451, "4.6.0",
	    SPAN("what the conversion made of the message is too large, or nothing"));
	give(x, &out);
}

static void on_run(void *arg, const struct run_result *r)
{
	struct conversion_ticket *x = OBJ(conversion_ticket, arg);
	struct station_result out = { .end = STATION_OUTCOME };
	unsigned code = r->answer.end == RUN_EXITED ? r->answer.code : EX_TEMPFAIL;
	x->ask = NULL;
	if (code == EX_OK) {
		take_changed(x, r);
		return;
	}
	if (code == CONVERT_SAME)
		out.end = STATION_PAST;
	else if (code == CONVERT_DROP)
		out.end = STATION_DROPPED;
	else if (code == CONVERT_HOLD)
		out.end = STATION_HELD;
	if (code == CONVERT_HOLD)
		outcome_set(&out.outcome, FATE_LATER, 250, "2.0.0", r->answer.text);
	else
		run_outcome(&out.outcome, r);
	give(x, &out);
}

static void on_known(void *arg)
{
	give(OBJ(conversion_ticket, arg), &(struct station_result){ .end = STATION_MOVED });
}

struct ticket *conversion_start(const struct station_ask *a, station_fn *fn, void *arg)
{
	struct queue *q = a->dest->queue;
	const struct q_item *it = a->items[0];
	const struct q_entry *e = it->entry;
	const struct edge_channel_conf *c = q->channels[a->dest->kind].own;
	struct conversion_ticket *x = MEM_NEW(struct conversion_ticket);
	x->ticket.cancel = cancel;
	x->magic = conversion_ticket_MAGIC;
	x->queue = q;
	x->items = a->items;
	x->n = a->n;
	x->fd = -1;
	x->piece = BUF_INIT(SPOOL_CHUNK);
	x->fn = fn;
	x->arg = arg;
	soon_init(&x->soon, on_known, x);
	struct run_ask ask = { .kind = RUN_CONVERT,
		.channel = span_str(c->head.title),
		.id = e->id,
		.recipient = (unsigned)item_index(it),
		.address = span_str(it->address),
		.user = span_str(it->user),
		.sender = span_str(e->sender),
		.arrived_us = e->arrived_us,
		.ours = e->trusted,
		.to = item_out_channel(it) };
	struct run_opts opts = { .loop = q->loop,
		.run_dir = daemon_run_dir(q->conf),
		.temp_dir = q->edge->temp_dir,
		.ask = &ask,
		.body = *a->body,
		.wants_result = true,
		.time_ms = c->time };
	if (queue_knows(q, id_of(x))) /* made before a crash */
		soon_set(q->loop, &x->soon);
	else
		x->ask = run_start(&opts, on_run, x);
	return &x->ticket;
}
