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

#include "base/span.h"

struct buf {
	char *p;           /* owned */
	size_t head, tail; /* live bytes are [head, tail) */
	size_t cap, max;
	bool over;
};

#define BUF_INIT(max_bytes) ((struct buf){ .max = (max_bytes) })

void buf_end(struct buf *b);      /* frees the memory; b may be used again */
void buf_wipe_end(struct buf *b); /* the same for secrets: wiped first */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_add_span(struct buf *b, struct span s);
bool buf_add_str(struct buf *b, const char *s);
bool buf_add_char(struct buf *b, char c);
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

/* The content as a C string: adds a NUL behind the live bytes that is not part of them.
 * Valid until the next change. Only for text of our own making. */
const char *buf_cstr(struct buf *b);

#endif
