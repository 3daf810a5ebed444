/* buf.c - bounded byte buffer; see buf.h. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"

enum { BUF_FIRST = 256 };

void buf_end(struct buf *b)
{
	size_t max = b->max;
	if (!b->lent)
		mem_free(b->p);
	*b = BUF_INIT(max);
}

void buf_wipe_end(struct buf *b)
{
	if (b->p != NULL)
		mem_wipe(b->p, b->cap);
	buf_end(b);
}

/* A secret may be in it. */
static void leave_room(struct buf *b, size_t want)
{
	char *own = mem_alloc(want);
	memcpy(own, b->p, b->tail);
	mem_wipe(b->p, b->tail);
	b->p = own;
	b->lent = false;
}

/* Makes room for n more bytes behind tail; one spare byte is kept for buf_cstr(). */
static void make_room(struct buf *b, size_t n)
{
	size_t live = buf_len(b);
	if (b->cap - b->tail > n)
		return;
	if (b->head > 0) {
		memmove(b->p, b->p + b->head, live);
		b->head = 0;
		b->tail = live;
		if (b->cap - b->tail > n && live <= b->cap / 2)
			return;
	}
	if (b->cap > live + n)
		return;
	size_t want = b->cap < BUF_FIRST ? BUF_FIRST : b->cap * 2;
	if (want > b->max + 1)
		want = b->max + 1;
	if (want < live + n + 1)
		want = live + n + 1;
	if (b->lent)
		leave_room(b, want);
	else
		b->p = mem_resize(b->p, want);
	b->cap = want;
}

bool buf_add_slowly(struct buf *b, const void *p, size_t n)
{
	if (b->over || n > b->max - buf_len(b)) {
		b->over = true;
		return false;
	}
	if (n == 0)
		return true;
	make_room(b, n);
	memcpy(b->p + b->tail, p, n);
	b->tail += n;
	return true;
}

bool buf_add_utf8(struct buf *b, uint32_t point)
{
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	char bytes[4];
	size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
	for (size_t i = n; i-- > 1; point >>= 6)
		bytes[i] = (char)(0x80 | (point & 0x3f));
	bytes[0] = (char)(lead[n] | point);
	return buf_add(b, bytes, n);
}

/* The whole line at once: false, and nothing is added, when it does not fit. */
static bool __attribute__((format(printf, 2, 0)))
print_any(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	make_room(b, 0);
	size_t room = b->cap - b->tail; /* what is written there does not count yet */
	int n = vsnprintf(b->p + b->tail, room, fmt, again);
	va_end(again);
	CHECK(n >= 0);
	if (b->over || (size_t)n > b->max - buf_len(b)) {
		b->over = true;
		return false;
	}
	if ((size_t)n >= room) {
		make_room(b, (size_t)n);
		vsnprintf(b->p + b->tail, (size_t)n + 1, fmt, ap);
	}
	b->tail += (size_t)n;
	return true;
}

/* Nearly all formats are text with strings in it, and vsnprintf() costs several times what these do. */
static bool is_plain(const char *fmt)
{
	while ((fmt = strchr(fmt, '%')) != NULL) {
		if (fmt[1] != 's' && strncmp(fmt + 1, ".*s", 3) != 0)
			return false;
		fmt += fmt[1] == 's' ? 2 : 4;
	}
	return true;
}

static void print_plain(struct buf *b, const char *fmt, va_list ap)
{
	const char *sign;
	while ((sign = strchr(fmt, '%')) != NULL) {
		bool cut = sign[1] == '.';
		int most = cut ? va_arg(ap, int) : -1;
		const char *s = va_arg(ap, const char *);
		buf_add(b, fmt, (size_t)(sign - fmt));
		if (s == NULL) /* as glibc does; none of ours should */
			s = "(null)";
		buf_add(b, s, most < 0 ? strlen(s) : strnlen(s, (size_t)most));
		fmt = sign + (cut ? 4 : 2);
	}
	buf_add_str(b, fmt);
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	if (!is_plain(fmt))
		return print_any(b, fmt, ap);
	size_t before = buf_len(b);
	make_room(b, 0);
	print_plain(b, fmt, ap);
	if (!b->over)
		return true;
	b->tail = b->head + before;
	return false;
}

bool buf_add_number(struct buf *b, uint64_t n)
{
	char digits[20]; /* of UINT64_MAX */
	size_t at = sizeof digits;
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return buf_add(b, digits + at, sizeof digits - at);
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	bool ok = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return ok;
}

size_t buf_room(struct buf *b, size_t n, char **p_out)
{
	size_t left = b->over ? 0 : b->max - buf_len(b);
	if (n > left)
		n = left;
	if (n > 0)
		make_room(b, n);
	*p_out = b->p == NULL ? NULL : b->p + b->tail;
	return n;
}

void buf_added(struct buf *b, size_t n)
{
	CHECK(b->tail + n < b->cap || n == 0);
	b->tail += n;
}

void buf_eat(struct buf *b, size_t n)
{
	CHECK(n <= buf_len(b));
	b->head += n;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

void buf_cut(struct buf *b, size_t n)
{
	CHECK(n <= buf_len(b));
	b->tail = b->head + n;
	b->over = false;
}

void buf_clear(struct buf *b)
{
	b->head = b->tail = 0;
	b->over = false;
}

void buf_shrink(struct buf *b)
{
	if (buf_len(b) == 0 && b->p != NULL && !b->lent) {
		MEM_FREE(&b->p);
		b->head = b->tail = b->cap = 0;
	}
}

const char *buf_cstr(struct buf *b)
{
	make_room(b, 0);
	b->p[b->tail] = '\0';
	return b->p + b->head;
}
