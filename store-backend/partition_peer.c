/* partition_peer.c - step 4 of 6: the connections of access workers. Before: operation_link.c in the worker; after:
 * partition_batch.c, and back here with the answers and the news (to watch.c in the worker).
 *
 * A frame is read in pieces: its head, the operation, the message; so nothing has to be buffered whole that is
 * large, and a large message goes to an unnamed file beside the log. New operations are taken only while
 * what is here stays within bounds, and only between two frames, so that every frame that was begun can end.
 *
 * Owns the connections, what they watch, and every operation until it is handed to the batch. */
#include <fcntl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store-backend/partition_internal.h"

enum {
	PEERS_MAX = 256,
	PEER_IN_MAX = 256 * 1024,
	PEER_OUT_MAX = ANSWER_MAX + 8 * 1024 * 1024,
	PEER_OUT_PAUSE = 1024 * 1024, /* a worker that does not read is not read from */
	MESSAGE_MEMORY = 256 * 1024,  /* a larger one goes to a file */
	HELD_MAX = 64 * 1024 * 1024,  /* bytes of operations here, of all workers */
	FILES_MAX = 64,               /* messages in files, of all workers */
	SMALL_FRAME_MAX = 64,         /* any but an operation */
	OPERATION_FIXED = 8 + 8 + 4,  /* sequence, answered_below, length of the head */
};

enum peer_state { PEER_HELLO, PEER_FRAME, PEER_HEAD, PEER_MESSAGE, PEER_STATE_COUNT };
enum peer_verdict { PEER_ON, PEER_WAIT, PEER_BROKEN };

struct peer {
	uint32_t magic;
	struct partition *p; /* borrowed */
	struct list_node place;
	struct stream *stream;  /* owned */
	struct timer deadline;  /* of the state; none between two frames */
	enum peer_state state;  /* only set_state() writes this */
	uint64_t client;        /* 0 before HELLO */
	struct map *watched;    /* mailbox id -> the peer itself: only the keys matter */
	struct asked *arriving; /* owned: PEER_HEAD, PEER_MESSAGE */
	size_t head_n;
	const char *why; /* it is broken */
};

typedef enum peer_verdict peer_fn(struct peer *k);
static peer_fn on_hello, on_frame, on_head, on_message;

static const struct {
	uint64_t ms;
	peer_fn *step;
} states[PEER_STATE_COUNT] = {
	[PEER_HELLO] = { 10000, on_hello },
	[PEER_FRAME] = { 0, on_frame },
	[PEER_HEAD] = { 120000, on_head },
	[PEER_MESSAGE] = { 600000, on_message },
};

static void set_state(struct peer *k, enum peer_state to)
{
	k->state = to;
	if (states[to].ms > 0)
		timer_set(&k->deadline, states[to].ms);
	else
		timer_clear(&k->deadline);
}

static enum peer_verdict broken(struct peer *k, const char *why)
{
	k->why = why;
	return PEER_BROKEN;
}

/* ---- operations --------------------------------------------------------------------------------------------- */

void asked_drop_message(struct partition *p, struct asked *a)
{
	MEM_FREE(&a->bytes);
	if (a->file >= 0) {
		close(a->file);
		p->files--;
	}
	a->file = -1;
}

void asked_free(struct partition *p, struct asked *a)
{
	list_remove(&a->place);
	asked_drop_message(p, a);
	p->held -= a->charge;
	operation_arena_end(&a->arena);
	buf_end(&a->head);
	buf_end(&a->record);
	buf_end(&a->answer);
	mem_free(a);
}

static struct asked *asked_new(struct peer *k, size_t head_n, uint64_t size)
{
	struct asked *a = MEM_NEW(struct asked);
	*a = (struct asked){
		.peer = k,
		.client = k->client,
		.head = BUF_INIT(OPERATION_HEAD_MAX),
		.size = size,
		.file = -1,
		.charge = head_n + (size <= MESSAGE_MEMORY ? (size_t)size : 0),
		.answer = BUF_INIT(ANSWER_MAX + 64),
	};
	k->p->held += a->charge;
	return a;
}

/* ---- what comes in -------------------------------------------------------------------------------------------- */

static bool say(struct peer *k, enum frame_kind kind, const uint64_t *numbers, size_t n)
{
	struct buf b = BUF_INIT(SMALL_FRAME_MAX);
	size_t mark = frame_begin(&b, kind);
	for (size_t i = 0; i < n; i++)
		wire_put_u64(&b, numbers[i]);
	if (kind == FRAME_NEWS)
		wire_put_u8(&b, numbers[1] == 0);
	frame_end(&b, mark, 0);
	bool ok = stream_write_span(k->stream, buf_span(&b));
	buf_end(&b);
	return ok;
}

static struct peer *peer_of_client(struct partition *p, uint64_t client)
{
	for (struct list_node *n = p->peers.next; n != &p->peers; n = n->next) {
		struct peer *k = LIST_OF(struct peer, place, n);
		if (k->client == client)
			return k;
	}
	return NULL;
}

static void peer_end(struct peer *k);

/* A small frame, cut off the input; PEER_ON: it is there. */
static enum peer_verdict take_small(struct peer *k, enum frame_kind *kind, struct wire_in *w)
{
	struct span body;
	size_t used;
	struct span in = stream_input(k->stream);
	enum frame_result r = frame_take(in, SMALL_FRAME_MAX, kind, &body, &used);
	if (r == FRAME_MORE)
		return PEER_WAIT;
	if (r == FRAME_BAD)
		return broken(k, "bad-frame");
	/* All small frames are numbers, and gone from the input before they are acted on. */
	*w = (struct wire_in){ .rest = body };
	return PEER_ON;
}

static enum peer_verdict on_hello(struct peer *k)
{
	enum frame_kind kind;
	struct wire_in w;
	enum peer_verdict v = take_small(k, &kind, &w);
	if (v != PEER_ON)
		return v;
	uint32_t version = wire_get_u32(&w);
	uint64_t client = wire_get_u64(&w);
	if (kind != FRAME_HELLO || w.bad || w.rest.n > 0 || version != WIRE_VERSION || client == 0)
		return broken(k, "bad-hello");
	stream_eat(k->stream, FRAME_HEAD_BYTES + 12);
	/* Its former connection is dead though nobody has told us yet. */
	struct peer *former = peer_of_client(k->p, client);
	if (former != NULL)
		peer_end(former);
	k->client = client;
	set_state(k, PEER_FRAME);
	(void)say(k, FRAME_READY, &k->p->epoch, 1);
	return PEER_ON;
}

static bool has_room(const struct peer *k)
{
	return k->p->held < HELD_MAX && k->p->files < FILES_MAX &&
	       stream_pending(k->stream) < PEER_OUT_PAUSE;
}

static enum peer_verdict begin_operation(struct peer *k, struct span in)
{
	struct wire_in w = { .rest = in };
	uint64_t length = wire_get_u32(&w);
	(void)wire_get_u8(&w);
	uint64_t sequence = wire_get_u64(&w), below = wire_get_u64(&w);
	uint64_t head_n = wire_get_u32(&w);
	if (w.bad)
		return PEER_WAIT;
	if (head_n > OPERATION_HEAD_MAX || length < 1 + OPERATION_FIXED + head_n ||
	    length - 1 - OPERATION_FIXED - head_n > OPERATION_MESSAGE_MAX || below > sequence)
		return broken(k, "bad-operation");
	k->head_n = (size_t)head_n;
	k->arriving = asked_new(k, k->head_n, length - 1 - OPERATION_FIXED - head_n);
	k->arriving->sequence = sequence;
	k->arriving->answered_below = below;
	stream_eat(k->stream, FRAME_HEAD_BYTES + OPERATION_FIXED);
	set_state(k, PEER_HEAD);
	return PEER_ON;
}

static enum peer_verdict watch(struct peer *k, enum frame_kind kind, uint64_t mailbox)
{
	struct span key = span_of(&mailbox, sizeof mailbox);
	if (kind == FRAME_UNWATCH) {
		(void)map_remove(k->watched, key);
		return PEER_ON;
	}
	if (!map_set(k->watched, key, k, NULL))
		return broken(k, "too-many-watches");
	/* What changed since its view was read. */
	uint64_t now[2] = { mailbox, index_writer_modseq(k->p->writer, mailbox) };
	(void)say(k, FRAME_NEWS, now, 2);
	return PEER_ON;
}

static enum peer_verdict on_frame(struct peer *k)
{
	enum frame_kind kind;
	struct wire_in w;
	bool room = has_room(k);
	stream_pause(k->stream, !room);
	if (!room)
		return PEER_WAIT;
	struct span in = stream_input(k->stream);
	if (in.n < FRAME_HEAD_BYTES)
		return PEER_WAIT;
	if (in.p[FRAME_HEAD_BYTES - 1] == FRAME_OPERATION)
		return begin_operation(k, in);
	enum peer_verdict v = take_small(k, &kind, &w);
	if (v != PEER_ON)
		return v;
	uint64_t mailbox = wire_get_u64(&w);
	if ((kind != FRAME_WATCH && kind != FRAME_UNWATCH) || w.bad || w.rest.n > 0)
		return broken(k, "bad-frame");
	stream_eat(k->stream, FRAME_HEAD_BYTES + 8);
	return watch(k, kind, mailbox);
}

static enum peer_verdict on_head(struct peer *k)
{
	struct asked *a = k->arriving;
	struct span piece = span_first(stream_input(k->stream), k->head_n - buf_len(&a->head));
	CHECK(buf_add_span(&a->head, piece));
	stream_eat(k->stream, piece.n);
	if (buf_len(&a->head) < k->head_n)
		return PEER_WAIT;
	if (!operation_decode(buf_span(&a->head), &a->op, &a->arena) ||
	    a->op.message.size != a->size)
		return broken(k, "bad-operation");
	if (a->size > MESSAGE_MEMORY) {
		a->file = open(k->p->path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		a->no_space = a->file < 0;
		k->p->files += a->file >= 0;
	} else {
		a->bytes = mem_alloc((size_t)a->size);
	}
	set_state(k, PEER_MESSAGE);
	return PEER_ON;
}

/* A disk that is full or broken is no reason to stop reading: the operation is refused when its turn comes. */
static void put_piece(struct asked *a, struct span piece)
{
	if (a->bytes != NULL)
		memcpy(a->bytes + a->got, piece.p, piece.n);
	if (a->file >= 0 && !a->no_space)
		a->no_space = fd_write_all(a->file, piece) != ERR_OK;
}

static enum peer_verdict on_message(struct peer *k)
{
	struct asked *a = k->arriving;
	struct span piece = span_first(stream_input(k->stream), (size_t)(a->size - a->got));
	put_piece(a, piece);
	a->got += piece.n;
	stream_eat(k->stream, piece.n);
	if (a->got < a->size)
		return PEER_WAIT;
	k->arriving = NULL;
	set_state(k, PEER_FRAME);
	batch_add(k->p, a);
	return PEER_ON;
}

/* ---- driver and destructor -------------------------------------------------------------------------------------- */

/* What has come whole but waits is forgotten: the worker will ask again. What is in the batch is carried out. */
static void forget_asker(struct partition *p, struct peer *k)
{
	struct list_node *next;
	for (struct list_node *n = p->waiting.next; n != &p->waiting; n = next) {
		struct asked *a = LIST_OF(struct asked, place, n);
		next = n->next;
		if (a->peer == k)
			asked_free(p, a);
	}
	for (struct list_node *n = p->batch.next; n != &p->batch; n = n->next) {
		struct asked *a = LIST_OF(struct asked, place, n);
		if (a->peer == k)
			a->peer = NULL;
	}
}

static void peer_end(struct peer *k)
{
	struct partition *p = k->p;
	if (k->why != NULL)
		log_write(&store_events[STORE_EV_COMMITTER_PEER], NULL,
		    LOG_FIELDS(LOG_STR("partition", p->name), LOG_STR("why", k->why)));
	forget_asker(p, k);
	if (k->arriving != NULL)
		asked_free(p, k->arriving);
	list_remove(&k->place);
	p->peer_n--;
	timer_clear(&k->deadline);
	stream_free(&k->stream);
	map_free(&k->watched);
	k->magic = 0;
	mem_free(k);
	soon_set(p->loop, &p->turn); /* there may be room for others now */
}

static void peer_step(struct peer *k)
{
	enum peer_verdict v = PEER_ON;
	while (v == PEER_ON && !k->p->failed)
		v = states[k->state].step(k);
	if (v == PEER_BROKEN)
		peer_end(k);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct peer *k = OBJ(peer, arg);
	if (ev == STREAM_INPUT || ev == STREAM_SENT) {
		peer_step(k);
		return;
	}
	if (ev == STREAM_FAILED && stream_err(k->stream) == ERR_TOO_MANY)
		k->why = "slow";
	peer_end(k);
}

static void on_deadline(void *arg)
{
	struct peer *k = OBJ(peer, arg);
	k->why = "timeout";
	peer_end(k);
}

/* ---- for the others -------------------------------------------------------------------------------------------- */

void partition_accept(struct partition *p, int take_fd)
{
	static const struct stream_limits limits = { PEER_IN_MAX, PEER_OUT_MAX };
	if (p->failed || p->peer_n == PEERS_MAX) {
		close(take_fd);
		return;
	}
	struct peer *k = MEM_NEW(struct peer);
	*k = (struct peer){ .magic = peer_MAGIC, .p = p, .watched = map_new(WATCHES_MAX) };
	timer_init(&k->deadline, p->loop, on_deadline, k);
	k->stream = stream_new(p->loop, take_fd, limits, on_stream, k);
	list_add_tail(&p->peers, &k->place);
	p->peer_n++;
	set_state(k, PEER_HELLO);
}

void peer_answer(struct asked *a)
{
	if (a->peer != NULL)
		(void)stream_write_span(a->peer->stream, buf_span(&a->answer));
}

void peers_tell(struct partition *p, const struct news *news)
{
	uint64_t numbers[2] = { news->mailbox, news->gone ? 0 : news->modseq };
	for (struct list_node *n = p->peers.next; n != &p->peers; n = n->next) {
		struct peer *k = LIST_OF(struct peer, place, n);
		if (map_get(k->watched, span_of(&news->mailbox, sizeof news->mailbox)) != NULL)
			(void)say(k, FRAME_NEWS, numbers, 2);
	}
}

void peers_resume(struct partition *p)
{
	struct list_node *next;
	for (struct list_node *n = p->peers.next; n != &p->peers; n = next) {
		struct peer *k = LIST_OF(struct peer, place, n);
		next = n->next;
		if (k->state == PEER_FRAME)
			peer_step(k); /* may end it, and no other */
	}
}

void peers_end(struct partition *p)
{
	while (!list_empty(&p->peers))
		peer_end(LIST_OF(struct peer, place, p->peers.next));
}
