/* stream_out.c - a stream's output queue: bytes and ranges of files, in order.
 *
 * After the owner's stream_write*(); before the kernel. Owns the queued pieces. */
#include "net/stream.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/stream_internal.h"

enum {
	OUT_PIECE_MAX = 65536,          /* then a new piece, so that no append moves much memory */
	TLS_IDLE_COST = 16 * 1024,      /* OpenSSL's object, as measured ... */
	TLS_HANDSHAKE_COST = 32 * 1024, /* ... and with the buffers of a handshake */
	OUT_FILE_COST = 256,            /* what a range of a file counts against out_max */
	OUT_IOV_MAX = 16,
	SPARES_MAX = 16, /* pieces of at most ... */
	SPARE_BYTES_MAX = 2048,
	OUT_ROUND_MAX = 1 << 20 /* per flush: then the other connections have their turn */
};

#define file_ref_MAGIC 0xf11e0001u

struct file_ref {
	uint32_t magic;
	unsigned refs;
	int fd; /* owned */
};

struct file_ref *file_ref_new(int take_fd)
{
	struct file_ref *f = MEM_NEW(struct file_ref);
	*f = (struct file_ref){ .magic = file_ref_MAGIC, .refs = 1, .fd = take_fd };
	return f;
}

struct file_ref *file_ref_get(struct file_ref *f)
{
	OBJ(file_ref, f)->refs++;
	return f;
}

void file_ref_put(struct file_ref **f)
{
	if (*f == NULL)
		return;
	CHECK((*f)->magic == file_ref_MAGIC && (*f)->refs > 0);
	if (--(*f)->refs > 0) {
		*f = NULL;
		return;
	}
	close((*f)->fd);
	(*f)->magic = 0;
	MEM_FREE(f);
}

int file_ref_fd(const struct file_ref *f)
{
	return f->fd;
}

/* ---- the queue ---- */

bool out_empty(const struct out_queue *q)
{
	return q->first == NULL;
}

/* Pieces that have left, with their memory, for what anybody says next: bounded, empty, wiped where they were secret. */
static struct {
	struct out_piece *first;
	size_t n;
} spare;

static struct out_piece *piece_new(void)
{
	struct out_piece *p = spare.first;
	if (p == NULL) {
		p = MEM_NEW(struct out_piece);
		p->bytes = BUF_INIT(OUT_PIECE_MAX);
		return p;
	}
	spare.first = p->next;
	spare.n--;
	p->next = NULL;
	return p;
}

static void piece_end(struct out_piece *p, bool secret)
{
	if (secret && p->bytes.p != NULL)
		mem_wipe(p->bytes.p, p->bytes.cap);
	if (spare.n == SPARES_MAX || p->bytes.cap > SPARE_BYTES_MAX) {
		buf_end(&p->bytes);
		mem_free(p);
		return;
	}
	buf_clear(&p->bytes);
	*p = (struct out_piece){ .next = spare.first, .bytes = p->bytes };
	spare.first = p;
	spare.n++;
}

static struct out_piece *piece_add(struct out_queue *q)
{
	struct out_piece *p = piece_new();
	if (q->last != NULL)
		q->last->next = p;
	else
		q->first = p;
	q->last = p;
	q->sealed = false;
	return p;
}

static void piece_drop(struct out_queue *q)
{
	struct out_piece *p = q->first;
	q->first = p->next;
	if (q->first == NULL) {
		q->last = NULL;
		q->sealed = false;
	}
	if (p->file != NULL) {
		q->bytes -= OUT_FILE_COST;
		q->file_bytes -= p->left;
	} else {
		q->bytes -= buf_len(&p->bytes);
	}
	file_ref_put(&p->file);
	piece_end(p, q->secret);
}

void out_end(struct out_queue *q)
{
	while (q->first != NULL)
		piece_drop(q);
}

void out_copy(const struct out_queue *q, struct buf *to)
{
	for (const struct out_piece *p = q->first; p != NULL; p = p->next) {
		CHECK(p->file == NULL);
		buf_add_span(to, buf_span(&p->bytes));
	}
}

static void append(struct out_queue *q, struct span v)
{
	while (v.n > 0) {
		struct out_piece *p = q->last;
		if (p == NULL || q->sealed || p->file != NULL ||
		    buf_len(&p->bytes) == OUT_PIECE_MAX)
			p = piece_add(q);
		struct span now = span_first(v, OUT_PIECE_MAX - buf_len(&p->bytes));
		CHECK(buf_add_span(&p->bytes, now));
		q->bytes += now.n;
		v = span_from(v, now.n);
	}
}

/* Room for n more, or the stream fails from the loop. */
static bool admit(struct stream *s, size_t n)
{
	OBJ(stream, s);
	if (s->state > ST_HANDSHAKE)
		return false;
	if (n > stream_space(s)) {
		stream_fail(s, ERR_TOO_MANY, "peer does not read: more output waits than allowed");
		return false;
	}
	stream_wake(s);
	return true;
}

bool stream_write_span(struct stream *s, struct span v)
{
	if (!admit(s, v.n))
		return false;
	append(&s->out, v);
	return true;
}

bool stream_write(struct stream *s, const void *p, size_t n)
{
	return stream_write_span(s, span_of(p, n));
}

bool stream_printf(struct stream *s, const char *fmt, ...)
{
	va_list ap;
	struct buf b = BUF_INIT(OUT_PIECE_MAX);
	va_start(ap, fmt);
	bool ok = buf_vprintf(&b, fmt, ap);
	va_end(ap);
	if (ok)
		ok = stream_write_span(s, buf_span(&b));
	else
		stream_fail(s, ERR_TOO_LONG, "one formatted reply is longer than the limit");
	buf_end(&b);
	return ok;
}

bool stream_write_file(struct stream *s, struct file_ref *f, off_t at, size_t n)
{
	if (n == 0)
		return s->state <= ST_HANDSHAKE;
	if (!admit(s, OUT_FILE_COST))
		return false;
	struct out_piece *p = piece_add(&s->out);
	p->file = file_ref_get(f);
	p->at = at;
	p->left = n;
	s->out.bytes += OUT_FILE_COST;
	s->out.file_bytes += n;
	return true;
}

size_t stream_memory(const struct stream *s)
{
	size_t all = sizeof *s + s->in.cap + s->lent.n + s->out.bytes;
	if (s->state == ST_STARTTLS || s->state == ST_HANDSHAKE)
		all += TLS_HANDSHAKE_COST;
	else if (s->wire.ssl != NULL)
		all += TLS_IDLE_COST;
	return all;
}

bool stream_out_empty(const struct stream *s)
{
	return out_empty(&s->out) && buf_len(&s->packed) == 0;
}

size_t stream_pending(const struct stream *s)
{
	return s->out.bytes + (size_t)s->out.file_bytes + buf_len(&s->packed);
}

size_t stream_space(const struct stream *s)
{
	return s->out.bytes >= s->limits.out_max ? 0 : s->limits.out_max - s->out.bytes;
}

/* ---- to the kernel ---- */

/* n bytes of the head of the queue have left. */
static void account(struct stream *s, size_t n)
{
	struct out_queue *q = &s->out;
	s->bytes_out += n;
	while (n > 0) {
		struct out_piece *p = q->first;
		size_t here = p->file != NULL ? p->left : buf_len(&p->bytes);
		size_t now = n < here ? n : here;
		if (p->file != NULL) {
			p->at += (off_t)now;
			p->left -= now;
			q->file_bytes -= now;
		} else {
			buf_eat(&p->bytes, now);
			q->bytes -= now;
		}
		n -= now;
		if (now == here)
			piece_drop(q);
	}
}

/* While TLS is about to begin only what was queued in plaintext leaves. */
static bool may_leave(const struct stream *s, const struct out_piece *p)
{
	return p != NULL && (s->state != ST_STARTTLS || p->plain);
}

void out_mark_plain(struct out_queue *q)
{
	for (struct out_piece *p = q->first; p != NULL; p = p->next)
		p->plain = true;
	q->sealed = q->first != NULL;
}

void out_drop_secret(struct out_queue *q)
{
	struct out_queue kept = { 0 };
	struct out_piece **end = &kept.first;
	while (q->first != NULL) {
		struct out_piece *p = q->first;
		if (!p->plain) {
			piece_drop(q);
			continue;
		}
		q->first = p->next;
		p->next = NULL;
		*end = kept.last = p;
		end = &p->next;
	}
	q->first = kept.first;
	q->last = kept.last;
}

/* Several pieces of bytes with one call; MSG_MORE when a file follows them, or the end: last words and FIN are one
 * packet then. */
static enum wire_result put_pieces(struct stream *s, size_t *put_out)
{
	struct iovec iov[OUT_IOV_MAX];
	struct msghdr msg = { .msg_iov = iov };
	const struct out_piece *p = s->out.first;
	for (; may_leave(s, p) && p->file == NULL && msg.msg_iovlen < OUT_IOV_MAX; p = p->next) {
		struct span v = buf_span(&p->bytes);
		iov[msg.msg_iovlen++] =
		    (struct iovec){ .iov_base = p->bytes.p + p->bytes.head, .iov_len = v.n };
	}
	bool more = s->state == ST_FLUSH || (p != NULL && p->file != NULL);
	return wire_send(&s->wire, &msg, more, put_out);
}

static enum wire_result put_some(struct stream *s, size_t *put_out)
{
	const struct out_piece *p = s->out.first;
	if (p->file != NULL) {
		size_t n = p->left < OUT_ROUND_MAX ? p->left : OUT_ROUND_MAX;
		return wire_write_file(&s->wire, p->file->fd, p->at, n, put_out);
	}
	if (wire_is_plain(&s->wire))
		return put_pieces(s, put_out);
	return wire_write(&s->wire, buf_span(&p->bytes), false, put_out);
}

/* ---- packed ---- */

/* The head of the queue goes through the compressor; behind the last piece everything comes out of it. */
static enum wire_result pack_some(struct stream *s)
{
	static char piece[WIRE_RECORD];
	const struct out_piece *p = s->out.first;
	struct span head = buf_span(&p->bytes);
	if (p->file != NULL) {
		size_t n = p->left < sizeof piece ? p->left : sizeof piece;
		ssize_t got = pread(p->file->fd, piece, n, p->at);
		if (got <= 0)
			return got < 0 ? wire_fail_errno(errno)
				       : wire_fail(ERR_CORRUPT,
					     "file is shorter than what was to be sent of it");
		head = span_of(piece, (size_t)got);
	}
	bool last = p->next == NULL && head.n == (p->file != NULL ? p->left : buf_len(&p->bytes));
	compress_pack(s->compress, head, last, &s->packed);
	account(s, head.n);
	return WIRE_OK;
}

static enum wire_result put_packed(struct stream *s, size_t *put_out)
{
	enum wire_result r = WIRE_OK;
	*put_out = 0;
	while (r == WIRE_OK && buf_len(&s->packed) == 0 && !out_empty(&s->out))
		r = pack_some(s);
	if (r == WIRE_OK && buf_len(&s->packed) > 0)
		r = wire_write(&s->wire, buf_span(&s->packed), false, put_out);
	if (*put_out > 0)
		buf_eat(&s->packed, *put_out);
	buf_shrink(&s->packed);
	return r;
}

static bool packs(const struct stream *s)
{
	return s->compress != NULL && (out_empty(&s->out) || !s->out.first->plain);
}

static bool has_output(const struct stream *s)
{
	return buf_len(&s->packed) > 0 || may_leave(s, s->out.first);
}

static enum wire_result put_next(struct stream *s, size_t *put_out)
{
	if (packs(s))
		return put_packed(s, put_out);
	enum wire_result r = put_some(s, put_out);
	if (r == WIRE_OK)
		account(s, *put_out);
	return r;
}

bool stream_flush(struct stream *s)
{
	size_t total = 0;
	s->write_wants_read = false;
	while (has_output(s) && total < OUT_ROUND_MAX) {
		size_t put;
		enum wire_result r = put_next(s, &put);
		switch (r) {
		case WIRE_OK:
			total += put;
			break;
		case WIRE_WANT_READ:
			s->write_wants_read = true;
			return true;
		case WIRE_WANT_WRITE:
			return true;
		case WIRE_EOF:
			wire_fail(ERR_CONN_CLOSED, "peer closed the TLS connection");
			return false;
		case WIRE_FAILED:
			return false;
		}
	}
	return true;
}
