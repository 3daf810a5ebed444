/* defragment.c - the station defragment: pieces of a message (message/partial) wait for each other in the queue and become
 * one message (part of step 6; before and after: deliver.c).
 *
 * Pieces belong together when id, sender and recipient are the same. They stay in the spool as they came; here is only which
 * are there. When the last one comes the message is made of them; the ids of messages and the places of pieces are all that
 * is kept, in at most GROUPS_MAX groups and PIECES_MAX pieces, and is found anew after a start, when everything that
 * waits is looked at once. What can be no piece of a group (another total, a number that is there, too much, too many)
 * goes on as it is, and so does every piece when its time is over. Each piece is marked as a part of the whole before that is
 * written down: after a crash it ends when the whole is there, and waits for the others again when it is not.
 *
 * Owns the groups; of an assembly under way the readers of its pieces, whose recipients it keeps from going elsewhere. */
#include "edge/station.h"

#include <stdio.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"
#include "proto/mime_partial.h"

#define pieces_MAGIC 0x90e0e012u
#define assembly_MAGIC 0x90e0e013u

enum {
	GROUPS_MAX = 1000,
	PIECES_MAX = 10000,
	HEADER_LOOK = 256 * 1024,
	KEY_MAX = 4 * SPOOL_STRING_MAX,
	AGAIN_WAIT_MS = 5 * 1000, /* after pieces could not be put together now */
};

static const char how[] = "defragment";

struct piece {
	struct ident id; /* of its message; "": not there */
	uint16_t recipient;
	uint64_t bytes, body_at;
};

struct group {
	struct list_node link; /* in pieces.groups, oldest first */
	char *key;
	unsigned total; /* 0: not known yet */
	unsigned n;     /* pieces that are there */
	uint64_t bytes;
	uint64_t until_ms;
	struct piece *v; /* owned: by number - 1 */
	size_t room;
};

struct pieces {
	uint32_t magic;
	struct map *by_key;
	struct list_node groups;
	size_t count;
};

struct assembly {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	struct q_item *leader; /* its delivery is the one under way */
	struct q_item **items; /* owned: all, by number - 1 */
	struct spool_reader **readers;
	struct mail_source *bodies;
	uint64_t *skip; /* bytes in front of each body that are not used */
	unsigned n;
	uint64_t size;
	struct ticket *ask;
	struct soon soon; /* an answer that is known at once */
	struct station_result now;
	struct buf header;
	station_fn *fn;
	void *arg;
};

/* ---- groups ------------------------------------------------------------------------------------- */

static void group_free(struct pieces *p, struct group *g)
{
	map_remove(p->by_key, span_str(g->key));
	list_remove(&g->link);
	p->count -= g->n;
	mem_free(g->key);
	mem_free(g->v);
	mem_free(g);
}

void defragment_end(struct queue *q)
{
	struct pieces *p = q->pieces;
	if (p == NULL)
		return;
	while (!list_empty(&p->groups))
		group_free(p, LIST_OF(struct group, link, p->groups.next));
	map_free(&p->by_key);
	p->magic = 0;
	MEM_FREE(&q->pieces);
}

static struct pieces *pieces_of(struct queue *q)
{
	if (q->pieces == NULL) {
		q->pieces = MEM_NEW(struct pieces);
		q->pieces->magic = pieces_MAGIC;
		q->pieces->by_key = map_new(GROUPS_MAX + 1);
		list_init(&q->pieces->groups);
	}
	return q->pieces;
}

/* Whose pieces have all gone on by themselves. */
static void forget_old(struct pieces *p, uint64_t now_ms)
{
	while (!list_empty(&p->groups)) {
		struct group *g = LIST_OF(struct group, link, p->groups.next);
		if (g->until_ms > now_ms)
			return;
		group_free(p, g);
	}
}

static struct group *group_of(
    struct queue *q, const struct q_item *it, const struct mime_partial *part, uint64_t until_ms)
{
	struct pieces *p = pieces_of(q);
	struct buf key = BUF_INIT(KEY_MAX);
	forget_old(p, loop_now_ms(q->loop));
	const struct q_entry *e = it->entry;
	buf_printf(&key, "%d%d%d%d%d%s\n%s\n%s\n", e->trusted, e->aligned, e->disowned,
	    e->require_tls, e->tls_optional, e->sender, it->address,
	    it->user != NULL ? it->user : "");
	fmt_hex(&key, span_of(part->id, part->id_n));
	struct group *g = buf_ok(&key) ? map_get(p->by_key, buf_span(&key)) : NULL;
	if (g == NULL && buf_ok(&key) && map_count(p->by_key) < GROUPS_MAX) {
		g = MEM_NEW(struct group);
		g->key = mem_str(buf_cstr(&key));
		g->until_ms = until_ms;
		CHECK(map_set(p->by_key, span_str(g->key), g, NULL));
		list_add_tail(&p->groups, &g->link);
	}
	buf_end(&key);
	return g;
}

static bool is_same(const struct piece *p, const struct q_item *it)
{
	return p->recipient == item_index(it) && strcmp(p->id.s, it->entry->id.s) == 0;
}

static void make_room(struct group *g, unsigned number)
{
	size_t room = g->room;
	while (room < number)
		room = room == 0 ? 4 : 2 * room;
	if (room == g->room)
		return;
	g->v = mem_grow(g->v, room, sizeof(*g->v));
	memset(g->v + g->room, 0, (room - g->room) * sizeof(*g->v));
	g->room = room;
}

static bool has_beyond(const struct group *g, unsigned total)
{
	for (size_t i = total; i < g->room; i++)
		if (g->v[i].id.s[0] != '\0')
			return true;
	return false;
}

/* False: it is no piece of this group. */
static bool join(
    struct queue *q, struct group *g, struct q_item *it, const struct mime_partial *part)
{
	uint64_t bytes = it->entry->body.bytes;
	struct piece *p;
	make_room(g, part->number);
	p = &g->v[part->number - 1];
	if (p->id.s[0] != '\0')
		return is_same(p, it);
	bool other_total = g->total != 0 && part->total != 0 && g->total != part->total;
	if (other_total || (g->total != 0 && part->number > g->total) ||
	    (part->total != 0 && has_beyond(g, part->total)) ||
	    g->bytes + bytes > q->edge->message_size_max || q->pieces->count >= PIECES_MAX)
		return false;
	g->total = part->total != 0 ? part->total : g->total;
	*p = (struct piece){ it->entry->id, (uint16_t)item_index(it), bytes, part->body_at };
	g->bytes += bytes;
	g->n++;
	q->pieces->count++;
	return true;
}

/* A piece that is gone: its message was ended by an operator. */
static void leave(struct queue *q, struct group *g, struct piece *p)
{
	g->bytes -= p->bytes;
	g->n--;
	q->pieces->count--;
	*p = (struct piece){ .recipient = 0 };
}

/* ---- the answer --------------------------------------------------------------------------------- */

static void assembly_free(struct assembly *x)
{
	ticket_cancel(&x->ask);
	soon_clear(&x->soon);
	for (unsigned i = 0; i < x->n && x->readers != NULL; i++)
		spool_reader_free(&x->readers[i]);
	mem_free(x->readers);
	mem_free(x->bodies);
	mem_free(x->skip);
	mem_free(x->items);
	buf_end(&x->header);
	x->magic = 0;
	mem_free(x);
}

/* The queue is being closed: recipients go with their entries. */
static void cancel(struct ticket *t)
{
	assembly_free(OBJ(assembly, t));
}

static void give(struct assembly *x, const struct station_result *r)
{
	station_fn *fn = x->fn;
	void *arg = x->arg;
	assembly_free(x);
	fn(arg, r);
}

static void on_soon(void *arg)
{
	struct assembly *x = OBJ(assembly, arg);
	struct station_result r = x->now;
	give(x, &r);
}

static void give_soon(struct assembly *x, enum station_end end, uint64_t wait_ms)
{
	x->now = (struct station_result){ .end = end, .wait_ms = wait_ms };
	soon_set(x->queue->loop, &x->soon);
}

/* What becomes of the other pieces: the leader's is the delivery's to say. */
static void end_others(struct assembly *x, bool moved)
{
	for (unsigned i = 0; i < x->n; i++) {
		struct q_item *it = x->items[i];
		struct q_entry *e = it->entry;
		if (it == x->leader)
			continue;
		spool_reader_free(&x->readers[i]);
		if (moved) {
			it->fate = SPOOL_TOLD;
			item_set_state(it, Q_FINAL);
			entry_save(e, &it, 1);
		} else {
			item_wait(it, AGAIN_WAIT_MS);
		}
		if (e != x->leader->entry)
			entry_settle(e);
	}
}

static void on_moved(void *arg, err_t err)
{
	struct assembly *x = OBJ(assembly, arg);
	x->ask = NULL;
	end_others(x, err == ERR_OK);
	give(x, &(struct station_result){
		    .end = err ? STATION_WAIT : STATION_MOVED, .wait_ms = AGAIN_WAIT_MS });
}

/* ---- putting together --------------------------------------------------------------------------- */

static struct span read_bodies(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct assembly *x = arg;
	*err_out = ERR_OK;
	for (unsigned i = 0; i < x->n; i++) {
		uint64_t size = x->bodies[i].size - x->skip[i];
		if (at < size)
			return x->bodies[i].read(x->bodies[i].arg, at + x->skip[i],
			    n < size - at ? n : (size_t)(size - at), err_out);
		at -= size;
	}
	return SPAN_NONE;
}

/* Its message in memory, waiting here; NULL: it is not. */
static struct q_item *piece_item(struct queue *q, const struct piece *p)
{
	uint32_t row = shelf_find(q->shelf, p->id);
	struct q_entry *e = row != 0 && !shelf_row(q->shelf, row)->done ? row_load(q, row) : NULL;
	struct q_item *it =
	    e != NULL && p->recipient < e->item_count ? &e->items[p->recipient] : NULL;
	return it;
}

static bool waits(const struct assembly *x, const struct q_item *it)
{
	return it == x->leader || (it->state == Q_WAIT && !it->on_hold);
}

static bool find_items(struct assembly *x, struct group *g)
{
	bool all = true;
	for (unsigned i = 0; i < g->total; i++) {
		x->items[i] = piece_item(x->queue, &g->v[i]);
		if (x->items[i] == NULL || x->items[i]->state == Q_FINAL)
			leave(x->queue, g, &g->v[i]);
		all = all && x->items[i] != NULL && waits(x, x->items[i]);
	}
	return all;
}

static bool put_header(struct assembly *x)
{
	err_t err = ERR_OK;
	size_t body_at = 0;
	struct span first = x->bodies[0].read(x->bodies[0].arg, 0, HEADER_LOOK, &err);
	x->header = BUF_INIT(HEADER_LOOK);
	if (err || !mime_partial_header(first, &x->header, &body_at))
		return false;
	x->skip[0] = body_at;
	return true;
}

/* The same pieces make the same message, whoever of them came last. */
static struct ident id_of_whole(const struct assembly *x)
{
	return move_id(&x->items[0]->entry->id, how, (unsigned)item_index(x->items[0]));
}

/* What the sender has said of the pieces it has said of the whole: silence, if it wants that for one of them; else all that
 * it wants to hear of any. 0: it has said nothing of any. */
static unsigned notify_of_whole(const struct assembly *x)
{
	unsigned all = 0, said = 0;
	for (unsigned i = 0; i < x->n; i++) {
		unsigned wish = x->items[i]->notify;
		said |= wish;
		all |= wish != 0 ? wish : SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY;
	}
	if (said == 0)
		return 0;
	return (all & SMTP_NOTIFY_NEVER) != 0 ? SMTP_NOTIFY_NEVER : all;
}

/* Before the whole is written down, each piece is said to belong to it: whatever of their ends is not there after a crash
 * is found by that. False: the log does not take it now. */
static bool mark_parts(struct assembly *x)
{
	struct ident whole = id_of_whole(x);
	bool saved = true;
	for (unsigned i = 0; i < x->n; i++) {
		struct q_item *it = x->items[i];
		item_set_part(it, &whole);
		entry_save(it->entry, &it, 1);
		saved = saved && !it->entry->unsaved;
	}
	return saved;
}

static void move(struct assembly *x)
{
	struct q_item *first = x->items[0];
	struct spool_recipient to;
	move_recipient(first, &to);
	to.notify = notify_of_whole(x);
	struct move_opts o = { .id = id_of_whole(x),
		.from = first->entry,
		.sender = first->entry->sender,
		.trusted = first->entry->trusted,
		.keeps_wishes = true,
		.stage = STAGE_DEFRAGMENT,
		.recipients = &to,
		.recipient_n = 1,
		.prefix = buf_span(&x->header),
		.body = { read_bodies, x, x->size } };
	x->ask = move_start(&o, on_moved, x);
}

/* From here on the other pieces go nowhere else. */
static void assemble(struct assembly *x, const struct group *g)
{
	struct queue *q = x->queue;
	x->readers = mem_array(x->n, sizeof(struct spool_reader *));
	x->bodies = mem_array(x->n, sizeof(*x->bodies));
	x->skip = mem_array(x->n, sizeof(*x->skip));
	for (unsigned i = 0; i < x->n; i++) {
		struct q_item *it = x->items[i];
		x->readers[i] = spool_reader_new(q->spool, &it->entry->body);
		x->bodies[i] = spool_reader_source(x->readers[i]);
		x->skip[i] = g->v[i].body_at;
		if (it != x->leader)
			item_set_state(it, Q_RUNNING);
	}
	bool good = put_header(x);
	for (unsigned i = 0; i < x->n; i++)
		x->size += x->bodies[i].size - x->skip[i];
	if (!good) { /* there is no message in them: they go on as they are */
		for (unsigned i = 0; i < x->n; i++)
			if (x->items[i] != x->leader)
				item_set_past(x->items[i], CHANNEL_DEFRAGMENT);
		end_others(x, false);
		give_soon(x, STATION_PAST, 0);
	} else if (queue_knows(q, id_of_whole(x))) {
		end_others(
		    x, true); /* made before, and an operator had sent the pieces elsewhere */
		give_soon(x, STATION_MOVED, 0);
	} else if (!mark_parts(x)) {
		end_others(x, false);
		give_soon(x, STATION_WAIT, AGAIN_WAIT_MS);
	} else {
		move(x);
	}
}

static void try_assembly(struct assembly *x, struct group *g, uint64_t wait_ms)
{
	if (g->total == 0 || g->n < g->total) {
		give_soon(x, STATION_WAIT, wait_ms);
		return;
	}
	x->n = g->total;
	x->items = mem_array(x->n, sizeof(struct q_item *));
	if (find_items(x, g)) {
		assemble(x, g);
		group_free(x->queue->pieces, g);
	} else {
		x->n = 0;
		give_soon(x, STATION_WAIT, wait_ms < AGAIN_WAIT_MS ? wait_ms : AGAIN_WAIT_MS);
	}
}

/* ---- one piece ---------------------------------------------------------------------------------- */

static uint64_t time_left_ms(const struct q_item *it, uint64_t lifetime_ms)
{
	uint64_t now = queue_now_us(it->entry->queue), arrived = it->entry->arrived_us;
	uint64_t age_ms = now > arrived ? (now - arrived) / 1000 : 0;
	return age_ms < lifetime_ms ? lifetime_ms - age_ms : 0;
}

struct ticket *defragment_start(const struct station_ask *a, station_fn *fn, void *arg)
{
	struct queue *q = a->dest->queue;
	struct q_item *it = a->items[0];
	struct assembly *x = MEM_NEW(struct assembly);
	struct mime_partial part;
	struct group *g = NULL;
	err_t err = ERR_OK;
	x->ticket.cancel = cancel;
	x->magic = assembly_MAGIC;
	x->queue = q;
	x->leader = it;
	x->fn = fn;
	x->arg = arg;
	soon_init(&x->soon, on_soon, x);
	uint64_t left_ms = time_left_ms(it, q->channels[a->dest->kind].own->defragment_lifetime);
	struct span head = a->body->read(a->body->arg, 0, HEADER_LOOK, &err);
	bool is_part = item_is_part(it);
	bool is_piece = !is_part && !err && mime_partial_parse(head, &part);
	if (is_piece && left_ms > 0)
		g = group_of(q, it, &part, loop_now_ms(q->loop) + left_ms);
	if (is_part) /* the whole was made before a crash */
		give_soon(x, STATION_MOVED, 0);
	else if (err)
		give_soon(x, STATION_WAIT, AGAIN_WAIT_MS);
	else if (g != NULL && join(q, g, it, &part))
		try_assembly(x, g, left_ms);
	else
		give_soon(x, STATION_PAST, 0);
	return &x->ticket;
}
