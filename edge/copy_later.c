/* copy_later.c - see copy_later.h. Owns the questions under way and the readers of their bytes.
 *
 * A copy is as the message is now: recipients that have had their end have it there, too. What ends while its copy is under
 * way is released behind the answer; nothing says so to the other host before it has the copy. */
#include "edge/copy_later.h"

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/queue_internal.h"

#define copy_later_MAGIC 0xc0b1e003u

enum {
	ROUND_MS = 100,
	ROUND_MESSAGES = 32,
	ROUND_BYTES = 4 * 1024 * 1024, /* and one message more */
	NEXT_MAX = 1000,
	FULL_AGAIN_MS = 5 * 1000,
	RECORD_BYTES_MAX = SPOOL_RECORD_MAX + SPOOL_INLINE_MAX,
};

/* A message whose copy is under way. */
struct later {
	struct copy_later *owner;
	struct ident id;
	struct buf payload;
	struct spool_message m; /* into payload */
	struct spool_body body;
	struct spool_reader *reader;
	struct ticket *put; /* NULL: the place is free */
	bool ended;
};

struct copy_later {
	uint32_t magic;
	struct loop *loop;
	struct queue *queue;
	struct spool_link *link; /* NULL: the other host is away */
	uint64_t deadline_ms;
	struct later under_way[ROUND_MESSAGES];
	size_t under_way_n;
	log_pos next[NEXT_MAX]; /* of messages without a copy, oldest first */
	size_t next_n, next_at;
	log_pos after;    /* older ones have been asked for in this pass */
	bool failed;      /* one of them in vain */
	bool doubtful;    /* as in the last pass: one is tried at first */
	uint64_t made;    /* in this pass */
	struct timer run; /* the next round, or the next pass */
};

void copy_release(struct spool_link *link, struct ident id)
{
	struct buf frame = BUF_INIT(100);
	spool_id_put(&frame, SPOOL_FRAME_RELEASE, id, false);
	if (link != NULL)
		spool_link_tell(link, buf_span(&frame));
	buf_end(&frame);
}

struct ticket *copy_put(
    struct spool_link *link, const struct spool_put_opts *opts, spool_put_fn *fn, void *arg)
{
	struct spool_message copy = *opts->message;
	struct spool_put_opts o = *opts;
	copy.parent = (struct ident){ 0 };
	copy.chunks = NULL;
	copy.chunk_count = 0;
	o.message = &copy;
	return spool_put(link, &o, fn, arg);
}

/* ---- one message ------------------------------------------------------------------------------ */

static void later_end(struct later *a)
{
	a->owner->under_way_n -= a->put != NULL;
	ticket_cancel(&a->put);
	spool_reader_free(&a->reader);
	spool_message_end(&a->m);
	buf_end(&a->payload);
	*a = (struct later){ .owner = a->owner };
}

static void pass_break(struct copy_later *c)
{
	c->next_n = c->next_at = 0;
	c->failed = true;
}

static void on_put(void *arg, err_t err)
{
	struct later *a = arg;
	struct copy_later *c = a->owner;
	struct ident id = a->id;
	bool ended = a->ended;
	a->put = NULL;
	c->under_way_n--;
	later_end(a);
	if (ended) {
		copy_release(c->link, id);
	} else if (err == ERR_OK) {
		queue_set_copied(c->queue, id);
		metric_add(&queue_metrics[QUEUE_M_COPIED_LATER], 1);
		c->made++;
		c->doubtful = false;
	} else {
		pass_break(c);
	}
	if (c->under_way_n == 0 && c->link != NULL)
		timer_set(&c->run, ROUND_MS);
}

static bool is_held(const struct q_entry *e)
{
	bool held = false;
	for (size_t i = 0; i < e->item_count; i++) {
		if (e->items[i].state != Q_FINAL && !e->items[i].on_hold)
			return false;
		held = held || e->items[i].on_hold;
	}
	return held;
}

/* What has become of it since its record was written. Strings are the entry's. */
static void set_present(struct spool_message *m, const struct q_entry *e)
{
	for (size_t i = 0; i < m->recipient_count && i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		struct spool_recipient *r = &m->recipients[i];
		if (it->state != Q_FINAL)
			continue;
		r->fate = it->fate;
		r->code = it->code;
		r->enhanced = span_str(it->enhanced);
		r->text = span_str(it->reason);
		r->remote = span_str(it->remote);
	}
	m->hold = is_held(e);
}

static struct ticket *put(struct later *a, const struct q_entry *e)
{
	struct copy_later *c = a->owner;
	struct spool_message m = a->m;
	a->body = (struct spool_body){ m.body_bytes, e->body.pos, m.body_at, a->m.chunks,
		a->m.chunk_count };
	a->reader = spool_reader_new(queue_spool(c->queue), &a->body);
	set_present(&m, e);
	const struct spool_put_opts o = {
		.message = &m, .body = spool_reader_source(a->reader), .deadline_ms = c->deadline_ms
	};
	return copy_put(c->link, &o, on_put, a);
}

/* The bytes that are on their way now. */
static uint64_t start(struct copy_later *c, struct later *a, log_pos pos)
{
	const struct q_entry *e = NULL;
	a->payload = BUF_INIT(RECORD_BYTES_MAX);
	if (spool_load_message(queue_spool(c->queue), pos, &a->payload, &a->m) == ERR_OK)
		e = queue_uncopied_entry(c->queue, a->m.id, pos);
	if (e == NULL || spool_link_asks(c->link, e->id)) { /* it has ended, or cannot be read */
		later_end(a);
		return 0;
	}
	a->id = e->id;
	a->put = put(a, e);
	c->under_way_n++;
	return a->m.body_bytes;
}

/* ---- rounds and passes ------------------------------------------------------------------------ */

/* False: there is none any more. */
static bool find_next(struct copy_later *c)
{
	if (c->next_at < c->next_n)
		return true;
	if (c->failed)
		return false;
	c->next_at = 0;
	c->next_n = queue_uncopied(c->queue, c->after, c->next, NEXT_MAX);
	return c->next_n > 0;
}

static void pass_end(struct copy_later *c)
{
	if (c->made > 0)
		log_write(&queue_events[QUEUE_EV_COPIED_LATER], NULL,
		    LOG_FIELDS(LOG_U64("messages", c->made)));
	if (c->failed)
		timer_set(&c->run, FULL_AGAIN_MS);
	c->doubtful = c->failed;
	c->after = 0;
	c->made = 0;
	c->failed = false;
}

static void on_run(void *arg)
{
	struct copy_later *c = OBJ(copy_later, arg);
	size_t most = c->doubtful ? 1 : ROUND_MESSAGES;
	uint64_t bytes = 0;
	if (c->link == NULL || c->under_way_n > 0 || queue_spool(c->queue) == NULL)
		return;
	for (size_t i = 0; i < most && bytes < ROUND_BYTES; i++) {
		if (!find_next(c))
			break;
		c->after = c->next[c->next_at++];
		bytes += start(c, &c->under_way[i], c->after);
	}
	if (c->under_way_n > 0)
		return; /* the last answer goes on */
	if (find_next(c))
		timer_set(&c->run, ROUND_MS);
	else
		pass_end(c);
}

/* ---- life ------------------------------------------------------------------------------------- */

static void pass_reset(struct copy_later *c)
{
	c->next_n = c->next_at = 0;
	c->after = 0;
	c->failed = c->doubtful = false;
}

void copy_later_begin(struct copy_later *c, struct spool_link *link, uint64_t deadline_ms)
{
	c->link = link;
	c->deadline_ms = deadline_ms;
	pass_reset(c);
	timer_set(&c->run, 0);
}

void copy_later_stop(struct copy_later *c)
{
	c->link = NULL;
	timer_clear(&c->run);
}

void copy_later_again(struct copy_later *c)
{
	c->failed = true;
	if (c->link != NULL && c->under_way_n == 0 && !timer_armed(&c->run))
		timer_set(&c->run, FULL_AGAIN_MS);
}

void copy_later_ended(struct copy_later *c, struct ident id)
{
	for (size_t i = 0; c->under_way_n > 0 && i < ROUND_MESSAGES; i++)
		if (c->under_way[i].put != NULL && strcmp(c->under_way[i].id.s, id.s) == 0)
			c->under_way[i].ended = true;
}

void copy_later_drop(struct copy_later *c)
{
	copy_later_stop(c);
	for (size_t i = 0; i < ROUND_MESSAGES; i++)
		later_end(&c->under_way[i]);
	pass_reset(c);
}

struct copy_later *copy_later_new(struct loop *l, struct queue *q)
{
	struct copy_later *c = MEM_NEW(struct copy_later);
	c->magic = copy_later_MAGIC;
	c->loop = l;
	c->queue = q;
	for (size_t i = 0; i < ROUND_MESSAGES; i++)
		c->under_way[i].owner = c;
	timer_init(&c->run, l, on_run, c);
	return c;
}

void copy_later_free(struct copy_later **pc)
{
	struct copy_later *c = *pc;
	if (c == NULL)
		return;
	copy_later_drop(c);
	c->magic = 0;
	MEM_FREE(pc);
}
