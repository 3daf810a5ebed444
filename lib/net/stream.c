/* stream.c - a connected byte stream: its states, its reading, its events.
 *
 * Before: listen.c or dial.c (a connected descriptor). Beside: stream_out.c (output queue),
 * stream_tls.c (starting TLS). After: pipe.c may take it over. Owns the wire and all that waits. */
#include "net/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/net_facts.h"
#include "net/stream_internal.h"

/* One attempt to go on in a state; events: what the descriptor is ready for (WATCH_*), 0 at the
 * end of a round. True: the state changed and the new one may go on at once. The stream may be
 * gone afterwards: the driver looks. */
typedef bool step_fn(struct stream *s, unsigned events);
static step_fn on_open, on_starttls, on_handshake, on_flush, on_finish, on_swallow;

static const struct {
	const char *name;
	step_fn *step;
} states[ST_COUNT] = {
	[ST_OPEN] = { "open", on_open },
	[ST_STARTTLS] = { "starttls", on_starttls },
	[ST_HANDSHAKE] = { "handshake", on_handshake },
	[ST_FAILED] = { "failed", NULL },
	[ST_FLUSH] = { "flush", on_flush },
	[ST_FINISH] = { "finish", on_finish },
	[ST_SWALLOW] = { "swallow", on_swallow },
};

/* The stream whose step runs, NULL once it is gone: callbacks may free it. Steps do not nest. */
static const struct stream *stepping;
/* What its step has read into the scratch buffer. */
static size_t scratch_n;

static unsigned bit(enum stream_event ev)
{
	return 1u << ev;
}

/* ---- states and events ---- */

void stream_set_state(struct stream *s, enum stream_state to)
{
	s->state = to;
	s->read_wants_write = s->write_wants_read = false;
}

void stream_wake(struct stream *s)
{
	loop_at_end(s->loop, &s->settle);
}

static bool let_go(const struct stream *s)
{
	return s->state >= ST_FLUSH;
}

void stream_fail(struct stream *s, err_t err, const char *text)
{
	if (s->state == ST_FAILED || let_go(s))
		return;
	stream_set_state(s, ST_FAILED);
	s->fault = err;
	s->fault_text = mem_str(text);
	out_end(&s->out);
	s->due = (s->due & ~bit(STREAM_SENT) & ~bit(STREAM_SECURED)) | bit(STREAM_FAILED);
	stream_wake(s);
}

static void fail_wire(struct stream *s)
{
	stream_fail(s, wire_fault()->err, wire_fault()->text);
}

/* What the owner must be able to rely on: input first, the end last. False: the stream is gone. */
static bool deliver(struct stream *s)
{
	static const enum stream_event order[] = { STREAM_SECURED, STREAM_INPUT, STREAM_SENT,
		STREAM_EOF, STREAM_FAILED };
	for (size_t i = 0; i < COUNT_OF(order) && s->fn != NULL; i++) {
		if (!(s->due & bit(order[i])))
			continue;
		s->due &= ~bit(order[i]);
		s->fn(s->arg, order[i]);
		if (stepping != s)
			return false;
	}
	return true;
}

static void end_input(struct stream *s)
{
	if (s->secret)
		buf_wipe_end(&s->in);
	else
		buf_end(&s->in);
}

/* Input left in the scratch buffer moves to memory of the stream's own. */
static void keep_lent(struct stream *s)
{
	struct span left = s->lent;
	s->lent = SPAN_NONE;
	if (left.n > 0)
		CHECK(buf_add_span(&s->in, left));
}

/* ---- reading ---- */

static size_t in_len(const struct stream *s)
{
	return s->lent.n > 0 ? s->lent.n : buf_len(&s->in);
}

static bool wants_input(const struct stream *s)
{
	return s->state == ST_OPEN && !s->paused && !s->eof && in_len(s) < s->limits.in_max;
}

static void took(struct stream *s, struct span got)
{
	s->bytes_in += got.n;
	s->due |= bit(STREAM_INPUT);
	if (buf_len(&s->in) == 0)
		s->lent = got;
	else
		CHECK(buf_add_span(&s->in, got));
}

static bool has_pending(const struct stream *s)
{
	return wire_has_pending(&s->wire) ||
	       (s->compress != NULL && compress_has_pending(s->compress));
}

/* Scratch is free: what came packed is with s->compress. */
static void unpack(struct stream *s)
{
	char *scratch = wire_scratch();
	size_t room = s->limits.in_max - in_len(s), got;
	if (!compress_unpack(s->compress, scratch, room < WIRE_SCRATCH ? room : WIRE_SCRATCH, &got))
		stream_fail(s, ERR_PROTOCOL, "what came is no DEFLATE data");
	else if (got > 0)
		took(s, span_of(scratch, got));
	scratch_n = got > scratch_n ? got : scratch_n;
}

static void took_raw(struct stream *s, struct span got)
{
	if (s->compress == NULL) {
		took(s, got);
		return;
	}
	compress_take(s->compress, got);
	unpack(s);
}

static void read_some(struct stream *s)
{
	char *scratch = wire_scratch();
	size_t room = s->limits.in_max - in_len(s), got;
	s->read_wants_write = false;
	if (s->compress != NULL && compress_has_pending(s->compress)) {
		unpack(s);
		return;
	}
	switch (wire_read(&s->wire, scratch, room < WIRE_SCRATCH ? room : WIRE_SCRATCH, &got)) {
	case WIRE_OK:
		scratch_n = got;
		took_raw(s, span_of(scratch, got));
		break;
	case WIRE_WANT_READ:
		break;
	case WIRE_WANT_WRITE:
		s->read_wants_write = true;
		break;
	case WIRE_EOF:
		s->eof = true;
		s->due |= bit(STREAM_EOF);
		break;
	case WIRE_FAILED:
		fail_wire(s);
		break;
	}
}

/* ---- the states of an owned stream ---- */

/* Output as far as the kernel takes it; notes SENT. */
static void flush(struct stream *s)
{
	if (stream_out_empty(s))
		return;
	if (!stream_flush(s))
		fail_wire(s);
	else if (stream_out_empty(s))
		s->due |= bit(STREAM_SENT);
}

static bool on_open(struct stream *s, unsigned events)
{
	/* At the end of a round nobody knows what the kernel would take, unless it refused: try. A read happens when the
	 * descriptor is readable, when TLS asked to write first and now may, or when decrypted bytes
	 * wait in OpenSSL, of which the descriptor says nothing. */
	bool readable = events & (s->read_wants_write ? WATCH_WRITE : WATCH_READ);
	if (events == 0 ? !(s->watch.events & WATCH_WRITE)
			: (events & (s->write_wants_read ? WATCH_READ : WATCH_WRITE)) != 0)
		flush(s);
	if (wants_input(s) && (readable || has_pending(s)))
		read_some(s);
	return false;
}

static bool on_starttls(struct stream *s, unsigned events)
{
	if (!stream_flush(s))
		fail_wire(s);
	if (s->state == ST_FAILED || (!out_empty(&s->out) && s->out.first->plain))
		return false;
	s->wire.ssl = s->next_ssl;
	s->next_ssl = NULL;
	stream_set_state(s, ST_HANDSHAKE);
	return true;
}

static bool on_handshake(struct stream *s, unsigned events)
{
	s->read_wants_write = false;
	switch (wire_handshake(&s->wire)) {
	case WIRE_OK:
		metric_add(&net_metrics[NET_TLS_HANDSHAKES], 1);
		stream_set_state(s, ST_OPEN);
		s->due |= bit(STREAM_SECURED);
		return has_pending(s); /* else the descriptor tells when there is more */
	case WIRE_WANT_WRITE:
		s->read_wants_write = true;
		return false;
	case WIRE_WANT_READ:
		return false;
	default:
		metric_add(&net_metrics[NET_TLS_FAILURES], 1);
		fail_wire(s);
		return false;
	}
}

/* ---- the states of a stream on its way out; these may free it ---- */

static void stream_end(struct stream *s)
{
	stream_free(&s);
}

static bool on_flush(struct stream *s, unsigned events)
{
	if (!stream_flush(s)) {
		stream_end(s);
		return false;
	}
	if (!stream_out_empty(s))
		return false;
	stream_set_state(s, ST_FINISH);
	return true;
}

static bool on_finish(struct stream *s, unsigned events)
{
	switch (wire_finish(&s->wire)) {
	case WIRE_OK:
		stream_set_state(s, ST_SWALLOW);
		return s->eof; /* else the descriptor tells when there is something to swallow */
	case WIRE_FAILED:
		stream_end(s);
		return false;
	default:
		return false;
	}
}

static bool on_swallow(struct stream *s, unsigned events)
{
	enum wire_result r = wire_swallow(&s->wire);
	if (r == WIRE_EOF || r == WIRE_FAILED)
		stream_end(s);
	return false;
}

static void on_linger_over(void *arg)
{
	stream_end(OBJ(stream, arg));
}

static void on_orphan_end(struct orphan *o)
{
	stream_end(LIST_OF(struct stream, orphan, o));
}

/* ---- the driver ---- */

static unsigned wanted_events(const struct stream *s)
{
	unsigned e = 0;
	switch (s->state) {
	case ST_OPEN:
		if (wants_input(s))
			e |= s->read_wants_write ? WATCH_WRITE : WATCH_READ;
		if (!stream_out_empty(s))
			e |= s->write_wants_read ? WATCH_READ : WATCH_WRITE;
		return e;
	case ST_HANDSHAKE:
		return s->read_wants_write ? WATCH_WRITE : WATCH_READ;
	case ST_STARTTLS:
	case ST_FLUSH:
		return s->write_wants_read ? WATCH_READ : WATCH_WRITE;
	case ST_FINISH:
		return WATCH_WRITE;
	case ST_SWALLOW:
		return WATCH_READ;
	default:
		return 0;
	}
}

/* May free the stream. */
static void go_on(struct stream *s, unsigned events)
{
	stepping = s;
	while (states[s->state].step != NULL && states[s->state].step(s, events) && stepping == s) {
	}
	if (stepping != s || !deliver(s))
		return;
	stepping = NULL;
	keep_lent(s);
	/* What its owner has just said leaves at once: nobody need ask whether there is room for it. */
	if (events == 0 && s->state == ST_OPEN && !(s->watch.events & WATCH_WRITE))
		flush(s);
	/* Interest waits for the end of the round: it often changes back until then. What is due by
	 * now, and decrypted bytes that no event will announce, have their turn in the next round. */
	if (events != 0)
		stream_wake(s);
	else
		watch_set(&s->watch, wanted_events(s));
	if (s->due != 0 || (wants_input(s) && has_pending(s)))
		stream_wake(s);
}

/* The only driver; may free the stream. */
static void step(struct stream *s, unsigned events)
{
	bool secret = s->secret;
	scratch_n = 0;
	go_on(s, events);
	if (secret)
		mem_wipe(wire_scratch(), scratch_n);
}

static void on_ready(void *arg, unsigned events)
{
	step(OBJ(stream, arg), events);
}

static void on_round_end(void *arg)
{
	step(OBJ(stream, arg), 0);
}

/* ---- life ---- */

struct stream *stream_of_wire(
    struct loop *l, struct wire take, struct stream_limits limits, stream_fn *fn, void *arg)
{
	struct stream *s = MEM_NEW(struct stream);
	CHECK(limits.in_max > 0 && limits.out_max > 0);
	s->magic = stream_MAGIC;
	s->loop = l;
	s->wire = take;
	s->fn = fn;
	s->arg = arg;
	s->limits = limits;
	s->in = BUF_INIT(limits.in_max);
	watch_init(&s->watch, l, take.fd, on_ready, s);
	soon_init(&s->settle, on_round_end, s);
	timer_init(&s->linger, l, on_linger_over, s);
	s->orphan.end = on_orphan_end;
	watch_set(&s->watch, WATCH_READ);
	return s;
}

struct stream *stream_new(
    struct loop *l, int take_fd, struct stream_limits limits, stream_fn *fn, void *arg)
{
	int on = 1;
	/* Writes are gathered already; a unix socket refuses the option, which is fine. */
	setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return stream_of_wire(l, (struct wire){ .fd = take_fd }, limits, fn, arg);
}

struct stream *stream_accepted(
    struct loop *l, int take_fd, struct stream_limits limits, stream_fn *fn, void *arg)
{
	return stream_of_wire(l, (struct wire){ .fd = take_fd }, limits, fn, arg);
}

struct wire stream_take_wire(struct stream **s)
{
	struct stream *dying = OBJ(stream, *s);
	struct wire w = dying->wire;
	if (stepping == dying)
		stepping = NULL;
	wire_close(&(struct wire){ .ssl = dying->next_ssl, .fd = -1 });
	orphan_leave(&dying->orphan);
	timer_clear(&dying->linger);
	soon_clear(&dying->settle);
	watch_end(&dying->watch);
	out_end(&dying->out);
	compress_free(&dying->compress);
	buf_end(&dying->packed);
	end_input(dying);
	mem_free(dying->fault_text);
	dying->magic = 0;
	MEM_FREE(s);
	return w;
}

void stream_free(struct stream **s)
{
	if (*s == NULL)
		return;
	struct wire w = stream_take_wire(s); /* the watch goes before its descriptor is closed */
	wire_close(&w);
}

void stream_close(struct stream **s, uint64_t linger_ms)
{
	struct stream *left = *s;
	if (left == NULL)
		return;
	OBJ(stream, left);
	if (left->state == ST_FAILED) {
		stream_free(s);
		return;
	}
	*s = NULL;
	left->fn = NULL;
	left->due = 0;
	left->lent = SPAN_NONE;
	end_input(left);
	/* In the middle of a handshake nothing more can be said, and nothing secret in plaintext. */
	if (left->state == ST_STARTTLS)
		out_drop_secret(&left->out);
	else if (left->state == ST_HANDSHAKE)
		out_end(&left->out);
	stream_set_state(left, ST_FLUSH);
	loop_adopt(left->loop, &left->orphan);
	timer_set(&left->linger, linger_ms);
	stream_wake(left);
}

void stream_set_owner(struct stream *s, struct stream_limits limits, stream_fn *fn, void *arg)
{
	OBJ(stream, s);
	CHECK(limits.in_max > 0 && limits.out_max > 0);
	s->fn = fn;
	s->arg = arg;
	s->limits = limits;
	s->in.max = limits.in_max > in_len(s) ? limits.in_max : in_len(s);
	if (in_len(s) > 0)
		s->due |= bit(STREAM_INPUT);
	if (s->eof)
		s->due |= bit(STREAM_EOF);
	if (s->state == ST_FAILED)
		s->due |= bit(STREAM_FAILED);
	stream_wake(s);
}

/* ---- input ---- */

void stream_set_secret(struct stream *s)
{
	s->secret = s->out.secret = true;
}

struct span stream_input(const struct stream *s)
{
	return s->lent.n > 0 ? s->lent : buf_span(&s->in);
}

void stream_eat(struct stream *s, size_t n)
{
	CHECK(n <= in_len(s));
	if (s->lent.n > 0) {
		s->lent = span_from(s->lent, n);
	} else {
		if (s->secret)
			mem_wipe(s->in.p + s->in.head, n);
		buf_eat(&s->in, n);
		buf_shrink(&s->in);
	}
	if (n > 0 && s->state == ST_OPEN)
		stream_wake(s);
}

void stream_pause(struct stream *s, bool pause)
{
	if (s->paused == pause)
		return;
	s->paused = pause;
	if (s->state == ST_OPEN)
		stream_wake(s);
}

bool stream_at_eof(const struct stream *s)
{
	return s->eof;
}

/* ---- facts ---- */

err_t stream_err(const struct stream *s)
{
	return s->fault;
}

const char *stream_err_text(const struct stream *s)
{
	return s->fault_text != NULL ? s->fault_text : err_text(s->fault);
}

struct ip_port stream_peer(const struct stream *s)
{
	return wire_peer(s->wire.fd);
}

struct ip_port stream_local(const struct stream *s)
{
	return wire_local(s->wire.fd);
}

uint64_t stream_bytes_in(const struct stream *s)
{
	return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
	return s->bytes_out;
}

int stream_fd(const struct stream *s)
{
	return s->wire.fd;
}

void stream_keepalive(struct stream *s, unsigned idle_s)
{
	wire_keepalive(s->wire.fd, idle_s);
}

void stream_ack_now(struct stream *s)
{
	int on = 1;
	/* not a mode: the kernel sends what it has held back, and delays later ones as before */
	setsockopt(s->wire.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

void stream_start_compress(struct stream *s)
{
	OBJ(stream, s);
	CHECK(s->compress == NULL);
	s->compress = compress_new(s->limits.in_max);
	s->packed = BUF_INIT(STREAM_PACKED_MAX);
	out_mark_plain(&s->out);
	compress_take(s->compress, stream_input(s));
	stream_eat(s, in_len(s));
	stream_wake(s);
}

bool stream_is_compressed(const struct stream *s)
{
	return s->compress != NULL;
}
