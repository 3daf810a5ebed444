/* pipe.c - two connections become one pipe: bytes both ways, half-close carried, nothing held while
 * idle.
 *
 * After stream.c, whose streams it takes apart: only their wires, counters and unread or unsent
 * bytes live on. A byte is read only when the other side has taken all before it; what a side does
 * not take at once is held for it, and then nothing more is read for it. */
#include "net/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/pipe_internal.h"
#include "net/stream_internal.h"

enum {
	READS_A_TURN = 4,    /* of a scratch buffer each; then the other pipes have their turn */
	BURST_LEAST = 16384, /* a splice that moves less ends the burst */
	SPLICE_MAX = 262144, /* size asked for the shared kernel pipe */
	LINGER_MS = 5000,
	KEEPALIVE_AFTER_MS = 10000 /* of its life, or its keepalive_s, a pipe asks for that */
};

/* ---- sending to a side ---- */

static void hold_bytes(struct side *to, struct span bytes)
{
	size_t had = to->held != NULL ? to->held->n : 0;
	if (bytes.n == 0)
		return;
	to->held = mem_resize(to->held, sizeof *to->held + had + bytes.n);
	if (had == 0)
		to->held->at = 0;
	memcpy(to->held->bytes + had, bytes.p, bytes.n);
	to->held->n = had + bytes.n;
}

void side_hold(struct side *to, struct span bytes)
{
	CHECK(to->stuck == NULL); /* it would go behind them, and side_unstick() behind it */
	hold_bytes(to, bytes);
}

static struct span held_span(const struct side *s)
{
	if (s->held == NULL)
		return SPAN_NONE;
	return span_of(s->held->bytes + s->held->at, s->held->n - s->held->at);
}

/* Puts what the kernel takes; the rest is left in *bytes. more: the end follows in this round, and goes with
 * them. False: it failed. */
static bool put_some(struct side *to, struct span *bytes, bool more)
{
	enum wire_result r = WIRE_OK;
	to->write_wants_read = false;
	while (bytes->n > 0 && r == WIRE_OK) {
		size_t put;
		r = wire_write(&to->wire, *bytes, more, &put);
		*bytes = span_from(*bytes, put);
	}
	to->write_wants_read = r == WIRE_WANT_READ;
	return r != WIRE_FAILED && r != WIRE_EOF;
}

/* Only the sending is over: the side's last words may still be there to read. */
static void sending_failed(struct side *to)
{
	MEM_FREE(&to->held);
	side_drop_stuck(to);
	to->sending = SEND_DEAD;
}

/* From a kernel pipe to memory, in front of whatever comes next. */
void side_unstick(struct side *to)
{
	while (to->stuck != NULL)
		hold_bytes(to, side_copy_stuck(to));
}

/* A socket that cannot take spliced bytes gets them as all others; one that is broken gets none. */
static void splice_failed(struct side *to)
{
	bool cannot = errno == EINVAL;
	if (cannot)
		side_unstick(to);
	else
		sending_failed(to);
	side_other(to)->burst = false;
}

static void put(struct side *to, struct span bytes, bool more)
{
	if (side_is_behind(to) || put_some(to, &bytes, more))
		side_hold(to, bytes);
	else
		sending_failed(to);
}

/* Both sides have ended and this one has all: closing the descriptor says the same as a shutdown. */
static bool ends_by_closing(struct side *to)
{
	return to->eof && side_other(to)->eof && !side_is_behind(side_other(to));
}

/* What waits for this side: held bytes, then the other side's EOF. */
static void catch_up(struct side *to)
{
	if (to->stuck != NULL && !side_put_stuck(to))
		splice_failed(to);
	if (to->stuck != NULL)
		return;
	if (to->held != NULL) {
		struct span left = held_span(to);
		size_t before = left.n;
		if (!put_some(to, &left, false)) {
			sending_failed(to);
			return;
		}
		to->held->at += before - left.n;
		if (left.n > 0)
			return;
		MEM_FREE(&to->held);
	}
	if (to->sending != SEND_ENDING)
		return;
	enum wire_result r =
	    ends_by_closing(to) ? wire_say_goodbye(&to->wire) : wire_finish(&to->wire);
	if (r != WIRE_WANT_WRITE)
		to->sending = SEND_ENDED;
}

/* ---- moving bytes ---- */

static bool may_move(struct side *from)
{
	struct side *to = side_other(from);
	return !from->eof && !side_is_behind(to) && to->sending == SEND_OPEN;
}

static void count(struct side *from, size_t n)
{
	from->received += n;
	side_pipe(from)->last_ms = loop_now_ms(pipe_loop(side_pipe(from)));
}

/* True: there may be more at once. */
static bool copy_some(struct side *from)
{
	char *scratch = wire_scratch();
	size_t got;
	from->read_wants_write = false;
	switch (wire_read(&from->wire, scratch, WIRE_SCRATCH, &got)) {
	case WIRE_OK:
		break;
	case WIRE_WANT_WRITE:
		from->read_wants_write = true;
		return false;
	case WIRE_WANT_READ:
		return false;
	case WIRE_EOF:
		side_closed(from);
		return false;
	case WIRE_FAILED:
		side_failed(from);
		return false;
	}
	struct span bytes = span_of(scratch, got);
	if (side_keeps_farewell(from, bytes)) {
		from->received += got;
		return true; /* its end may stand behind it */
	}
	pipe_release_farewell(side_pipe(from));
	count(from, got);
	from->parted = side_parts(from, bytes);
	from->burst = got == WIRE_SCRATCH;
	bool last = from->last && !from->burst;
	put(side_other(from), bytes, last);
	if (last)
		side_closed(from);
	return from->burst;
}

/* True: there may be more at once. */
static bool splice_some(struct side *from)
{
	struct side *to = side_other(from);
	size_t got = side_splice(from, to);
	if (got == 0)
		return errno != EAGAIN;
	count(from, got);
	from->parted = false;
	if (!side_put_stuck(to))
		splice_failed(to);
	return false; /* one is a turn's worth, and asking for more than there is would end the burst */
}

static void pump(struct side *from)
{
	for (int i = 0; i < READS_A_TURN && may_move(from); i++) {
		bool more =
		    side_may_splice(from, side_other(from)) ? splice_some(from) : copy_some(from);
		if (!more)
			break;
	}
	/* Decrypted bytes, or an end behind them, that no event will announce. */
	if (may_move(from) && wire_has_pending(&from->wire))
		soon_set(pipe_loop(side_pipe(from)), &side_pipe(from)->soon);
}

/* ---- the end ---- */

static void side_end(struct side *s)
{
	if (side_pipe(s)->lent)
		watch_end(&s->watch);
	else
		watch_forget(&s->watch);
	wire_close(&s->wire);
	MEM_FREE(&s->held);
	side_drop_stuck(s);
}

static void ignore_stream(void *arg, enum stream_event ev)
{
}

/* A side that can still take bytes gets what is held for it, and no reset. */
static void side_leave(struct side *s)
{
	side_unstick(s);
	struct span rest = held_span(s);
	if (s->sending == SEND_DEAD || (s->eof && s->sending == SEND_ENDED)) {
		side_end(s);
		return;
	}
	watch_end(&s->watch);
	struct stream_limits limits = { .in_max = 1, .out_max = rest.n + 1 };
	struct stream *last =
	    stream_of_wire(pipe_loop(side_pipe(s)), s->wire, limits, ignore_stream, NULL);
	s->wire = (struct wire){ .fd = -1 };
	stream_write_span(last, rest);
	stream_close(&last, LINGER_MS);
	side_end(s);
}

static void pipe_end(struct pipe *p)
{
	timer_clear(&p->idle);
	soon_clear(&p->soon);
	MEM_FREE(&p->farewell);
	p->magic = 0;
	mem_free(p);
}

void pipe_free(struct pipe **p)
{
	struct pipe *dying = *p;
	*p = NULL;
	if (dying == NULL)
		return;
	OBJ(pipe, dying);
	side_end(&dying->sides[CLIENT]);
	side_end(&dying->sides[STORE]);
	pipe_end(dying);
}

static void finish(struct pipe *p)
{
	struct pipe_done done = { .end = p->cause };
	void (*fn)(void *, const struct pipe_done *) = p->fn;
	void *arg = p->arg;
	pipe_counts(p, &done.client_bytes, &done.store_bytes);
	pipe_release_farewell(p);
	side_leave(&p->sides[CLIENT]);
	side_leave(&p->sides[STORE]);
	pipe_end(p);
	fn(arg, &done);
}

/* ---- the driver ---- */

static unsigned wanted_events(struct side *s)
{
	unsigned e = 0;
	if (may_move(s))
		e |= s->read_wants_write ? WATCH_WRITE : WATCH_READ;
	if (side_is_behind(s))
		e |= s->write_wants_read ? WATCH_READ : WATCH_WRITE;
	else if (s->sending == SEND_ENDING)
		e |= WATCH_WRITE;
	return e;
}

/* A write failed: the last words of that side are passed on, then the pipe is over. Whether it
 * closed or broke is what its reading says. */
static void bury(struct side *s)
{
	if (s->sending != SEND_DEAD || side_pipe(s)->over)
		return;
	pump(s);
	if (!s->eof)
		side_failed(s);
	side_pipe(s)->over = true;
}

/* From here on this side only moves bytes: OpenSSL's object goes at the first moment it can. */
static void park(struct side *s)
{
	if (s->may_park && !s->eof && !side_is_behind(s) && s->sending == SEND_OPEN &&
	    !s->read_wants_write && !s->write_wants_read)
		s->may_park = wire_park(&s->wire);
}

/* Only the client is left: whatever it does ends the pipe. */
static void wait_for_client(struct pipe *p)
{
	side_end(&p->sides[STORE]);
	watch_set(&p->sides[CLIENT].watch, WATCH_READ);
}

/* What every turn ends with; may free the pipe. */
static void settle(struct pipe *p)
{
	if (p->waits && !p->over) {
		wait_for_client(p);
		return;
	}
	struct side *a = &p->sides[CLIENT], *b = &p->sides[STORE];
	bury(a);
	bury(b);
	/* An EOF that came in this round goes on in this round. */
	if (!side_is_behind(a))
		catch_up(a);
	if (!side_is_behind(b))
		catch_up(b);
	if (p->over || (a->eof && b->eof && a->sending == SEND_ENDED && b->sending == SEND_ENDED)) {
		finish(p);
		return;
	}
	park(a);
	park(b);
	watch_set(&a->watch, wanted_events(a));
	watch_set(&b->watch, wanted_events(b));
}

static void on_ready(void *arg, unsigned events)
{
	struct side *s = arg;
	struct pipe *p = OBJ(pipe, side_pipe(s));
	if (p->waits) {
		finish(p);
		return;
	}
	if (side_is_behind(s) && (events & (s->write_wants_read ? WATCH_READ : WATCH_WRITE))) {
		catch_up(s);
		pump(side_other(s)); /* it was held up by this side; OpenSSL may have bytes of it */
	}
	s->last = (events & WATCH_LAST) && wire_is_plain(&s->wire);
	if (events & (s->read_wants_write ? WATCH_WRITE : WATCH_READ))
		pump(s);
	s->last = false;
	/* An end waits for the end of the round: the other side often ends in the same one, and then nothing need be
	 * said about either. */
	if (s->eof && !p->over && !p->waits)
		soon_set(pipe_loop(p), &p->soon);
	else
		settle(p);
}

static void on_soon(void *arg)
{
	struct pipe *p = OBJ(pipe, arg);
	/* Both catch up before either is read: what one is held for is why the other is not read, and
	 * nobody announces decrypted bytes a second time. */
	for (int i = CLIENT; i <= STORE && !p->over && !p->waits; i++)
		catch_up(&p->sides[i]);
	/* Of what the kernel has the descriptor tells. */
	for (int i = CLIENT; i <= STORE && !p->over && !p->waits; i++)
		if (wire_has_pending(&p->sides[i].wire))
			pump(&p->sides[i]);
	settle(p);
}

static void begin_keepalive(struct pipe *p)
{
	for (int i = CLIENT; i <= STORE; i++)
		wire_keepalive(p->sides[i].wire.fd, p->keepalive_s);
	p->keepalive_s = 0;
}

void pipe_arm(struct pipe *p, uint64_t quiet_ms)
{
	uint64_t ms = quiet_ms < p->idle_ms ? p->idle_ms - quiet_ms : 0;
	uint64_t first_ms = 1000 * (uint64_t)p->keepalive_s;
	first_ms = first_ms < KEEPALIVE_AFTER_MS ? first_ms : KEEPALIVE_AFTER_MS;
	if (p->keepalive_s > 0 && (p->idle_ms == 0 || first_ms < ms))
		ms = first_ms;
	if (p->keepalive_s > 0 || p->idle_ms > 0)
		timer_set(&p->idle, ms);
}

static void on_idle(void *arg)
{
	struct pipe *p = OBJ(pipe, arg);
	if (p->waits) {
		finish(p);
		return;
	}
	if (p->farewell != NULL) { /* the store has not closed behind it */
		pipe_release_farewell(p);
		settle(p);
		return;
	}
	if (p->keepalive_s > 0)
		begin_keepalive(p);
	uint64_t limit = p->idle_ms, quiet = pipe_idle_ms(p);
	if (p->cause_known && (limit == 0 || limit > HALF_CLOSED_MS))
		limit = HALF_CLOSED_MS;
	if (limit == 0)
		return;
	if (quiet < limit) {
		timer_set(&p->idle, limit - quiet);
		return;
	}
	pipe_set_cause(p, PIPE_IDLE);
	finish(p);
}

/* ---- the interface ---- */

/* What the stream has not sent goes before what the other one has read. */
static void side_begin(struct pipe *p, enum side_id id, struct stream *s, const struct stream *from)
{
	struct side *side = &p->sides[id];
	struct buf unsent = BUF_INIT(SIZE_MAX / 2);
	CHECK(s->state == ST_OPEN || s->state == ST_FAILED);
	/* The last words of its owner, most often all there is: they need not be kept first. What is wrong shows again. */
	if (s->state == ST_OPEN && stream_input(from).n == 0)
		(void)stream_flush(s);
	out_copy(&s->out, &unsent);
	side_hold(side, buf_span(&unsent));
	side_hold(side, stream_input(from));
	buf_end(&unsent);
	side->received = s->bytes_in;
}

static void side_take(struct pipe *p, enum side_id id, struct stream **take)
{
	struct side *side = &p->sides[id];
	bool failed = (*take)->state == ST_FAILED, eof = (*take)->eof;
	/* Before the stream lets go of the descriptor: so the kernel need not be told of either. */
	side->wire.fd = (*take)->wire.fd;
	side_watch(side);
	watch_set(&side->watch, (*take)->watch.events);
	side->wire = stream_take_wire(take);
	side->may_park = side->wire.ssl != NULL;
	if (failed)
		side_failed(side);
	else if (eof)
		side_closed(side);
}

void side_watch(struct side *s)
{
	watch_init(&s->watch, pipe_loop(side_pipe(s)), s->wire.fd, on_ready, s);
}

struct pipe *pipe_new(struct loop *l, const struct pipe_owner *owner)
{
	struct pipe *p = MEM_NEW(struct pipe);
	p->magic = pipe_MAGIC;
	p->fn = owner->fn;
	p->arg = owner->arg;
	p->idle_ms = owner->idle_ms < UINT32_MAX ? (uint32_t)owner->idle_ms : UINT32_MAX;
	p->keepalive_s = owner->keepalive_s;
	p->last_ms = loop_now_ms(l);
	p->sides[STORE].is_store = true;
	p->sides[CLIENT].wire.fd = p->sides[STORE].wire.fd = -1;
	timer_init(&p->idle, l, on_idle, p);
	soon_init(&p->soon, on_soon, p);
	return p;
}

struct pipe *pipe_start(struct loop *l, struct stream **take_client, struct stream **take_store,
    const struct pipe_owner *owner)
{
	struct pipe *p = pipe_new(l, owner);
	pipe_arm(p, 0);
	side_begin(p, CLIENT, *take_client, *take_store);
	side_begin(p, STORE, *take_store, *take_client);
	side_take(p, CLIENT, take_client);
	side_take(p, STORE, take_store);
	soon_set(l, &p->soon);
	return p;
}

void pipe_on_lost(struct pipe *p, const struct pipe_lost *lost)
{
	OBJ(pipe, p)->lost = lost;
}

void pipe_stop(struct pipe *p, struct span last_words)
{
	struct side *client = &OBJ(pipe, p)->sides[CLIENT];
	pipe_release_farewell(p);
	if (!side_is_behind(client) && client->sending == SEND_OPEN)
		side_hold(client, last_words);
	p->cause_known = true;
	p->cause = PIPE_STOPPED;
	p->over = true;
	p->frozen = false;
	soon_set(pipe_loop(p), &p->soon);
}

uint64_t pipe_idle_ms(const struct pipe *p)
{
	uint64_t now = loop_now_ms(pipe_loop(p));
	return now > p->last_ms ? now - p->last_ms : 0;
}

void pipe_counts(const struct pipe *p, uint64_t *client_bytes, uint64_t *store_bytes)
{
	*client_bytes = p->sides[CLIENT].received;
	*store_bytes = p->sides[STORE].received;
}
