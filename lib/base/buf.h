/* buf.h - a growable byte buffer that cannot be made without a maximum.
 *
 * Adding beyond the maximum adds nothing, sets the sticky flag `over` and answers false: build a
 * whole message, test once with buf_ok(). Bytes are consumed at the front with buf_eat(). Spans
 * taken from a buffer are valid until the next buf_* call that adds or eats. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/span.h"

struct buf {
	char *p;           /* owned */
	size_t head, tail; /* live bytes are [head, tail) */
	size_t cap, max;
	bool over;
	bool lent; /* p is the room of BUF_IN() */
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })
/* The same, in an array beside it for as long as that is enough: for what is small most of the time. The two stay where
 * they are, or go together. */
#define BUF_IN(room, max_bytes)                                                                    \
	((struct buf){ .p = (room), .cap = sizeof(room), .max = (max_bytes), .lent = true })

void buf_end(struct buf *b);      /* frees the memory; b may be used again */
void buf_wipe_end(struct buf *b); /* the same for secrets: wiped first */
static inline bool buf_add(struct buf *b, const void *p, size_t n);
static inline bool buf_add_span(struct buf *b, struct span s);
static inline bool buf_add_str(struct buf *b, const char *s);
static inline bool buf_add_char(struct buf *b, char c);
bool buf_add_utf8(struct buf *b, uint32_t point); /* up to U+10FFFF */
bool buf_add_number(struct buf *b, uint64_t n);   /* decimal; for those who write many */
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Direct filling: room for up to n bytes (fewer if the maximum is near) at *p_out; returns how
 * many may be written there; then buf_added() says how many were. */
size_t buf_room(struct buf *b, size_t n, char **p_out);
void buf_added(struct buf *b, size_t n);

void buf_eat(struct buf *b, size_t n); /* n <= buf_len(b) */
void buf_cut(struct buf *b, size_t n); /* keeps the first n <= buf_len(b) bytes, and is not over */
void buf_clear(struct buf *b);         /* empty and not over; memory kept */
void buf_shrink(struct buf *b);        /* gives memory back when empty */

static inline size_t buf_len(const struct buf *b)
{
	return b->tail - b->head;
}

static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->p == NULL ? "" : b->p + b->head, b->tail - b->head);
}

static inline bool buf_ok(const struct buf *b)
{
	return !b->over;
}

/* buf.c: buf_add() when there is no room yet, or none to be had. */
bool buf_add_slowly(struct buf *b, const void *p, size_t n);

/* Lines are put together of many small pieces, most of which have room: these need no call. One byte stays
 * free for buf_cstr(). */
static inline bool buf_add(struct buf *b, const void *p, size_t n)
{
	if (b->over || n >= b->cap - b->tail || n > b->max - buf_len(b) || n == 0)
		return buf_add_slowly(b, p, n);
	memcpy(b->p + b->tail, p, n);
	b->tail += n;
	return true;
}

static inline bool buf_add_span(struct buf *b, struct span s)
{
	return buf_add(b, s.p, s.n);
}

static inline bool buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

static inline bool buf_add_char(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

/* The content as a C string: adds a NUL behind the live bytes that is not part of them.
 * Valid until the next change. Only for text of our own making. */
const char *buf_cstr(struct buf *b);

#endif
