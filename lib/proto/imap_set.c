/* imap_set.c - IMAP sequence sets: read, put in order, ask, write; see imap_lex.h.
 *
 * Owns the array of a set; its size is bounded by IMAP_SET_MAX. */
#include <stdlib.h>

#include "base/mem.h"
#include "proto/imap_lex.h"

enum { FIRST_CAP = 8 };

void imap_set_end(struct imap_set *s)
{
	mem_free(s->v);
	*s = (struct imap_set){ 0 };
}

bool imap_set_add(struct imap_set *s, uint32_t first, uint32_t last)
{
	if (s->n == IMAP_SET_MAX)
		return false;
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? FIRST_CAP : s->cap * 2;
		s->v = mem_grow(s->v, s->cap, sizeof s->v[0]);
	}
	s->v[s->n++] = (struct imap_range){ first, last };
	return true;
}

static uint32_t read_set_number(struct imap_cursor *c)
{
	return imap_try(c, '*') ? (uint32_t)IMAP_STAR : imap_read_nz_number(c);
}

void imap_read_set(struct imap_cursor *c, struct imap_set *out)
{
	out->saved = imap_try(c, '$');
	if (out->saved)
		return;
	do {
		uint32_t first = read_set_number(c);
		uint32_t last = imap_try(c, ':') ? read_set_number(c) : first;
		if (c->why == NULL && !imap_set_add(out, first, last))
			imap_fail(c, "Too many ranges in set");
	} while (imap_try(c, ','));
}

static int by_first(const void *a, const void *b)
{
	const struct imap_range *x = a, *y = b;
	return (x->first > y->first) - (x->first < y->first);
}

/* Stars become numbers, and each range runs upwards. Answers how many are left. */
static size_t set_numbers(struct imap_set *s, uint32_t star)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->n; i++) {
		struct imap_range r = s->v[i];
		if (r.first == IMAP_STAR)
			r.first = star;
		if (r.last == IMAP_STAR)
			r.last = star;
		if (r.first == 0 || r.last == 0)
			continue;
		if (r.first > r.last)
			r = (struct imap_range){ r.last, r.first };
		s->v[kept++] = r;
	}
	return kept;
}

void imap_set_resolve(struct imap_set *s, uint32_t star)
{
	s->n = set_numbers(s, star);
	if (s->n == 0)
		return;
	qsort(s->v, s->n, sizeof s->v[0], by_first);
	size_t last = 0;
	for (size_t i = 1; i < s->n; i++) {
		struct imap_range r = s->v[i], *into = &s->v[last];
		if (into->last == UINT32_MAX || r.first <= into->last + 1) {
			if (r.last > into->last)
				into->last = r.last;
		} else {
			s->v[++last] = r;
		}
	}
	s->n = last + 1;
}

bool imap_set_has(const struct imap_set *s, uint32_t n)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (n < s->v[mid].first)
			hi = mid;
		else if (n > s->v[mid].last)
			lo = mid + 1;
		else
			return true;
	}
	return false;
}

static bool put_set_number(struct buf *out, uint32_t n)
{
	return n == IMAP_STAR ? buf_add_char(out, '*') : buf_printf(out, "%u", n);
}

static void put_range(struct buf *out, uint32_t first, uint32_t last)
{
	put_set_number(out, first);
	if (last == first)
		return;
	buf_add_char(out, ':');
	put_set_number(out, last);
}

bool imap_put_set(struct buf *out, const struct imap_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (i > 0)
			buf_add_char(out, ',');
		put_range(out, s->v[i].first, s->v[i].last);
	}
	return buf_ok(out);
}

void imap_set_write(struct imap_set_writer *w, uint32_t first, uint32_t last)
{
	if (w->first != 0 && w->last != UINT32_MAX && first == w->last + 1) {
		w->last = last;
		return;
	}
	imap_set_write_end(w);
	if (w->any)
		buf_add_char(w->out, ',');
	w->first = first;
	w->last = last;
	w->any = true;
}

void imap_set_write_end(struct imap_set_writer *w)
{
	if (w->first != 0)
		put_range(w->out, w->first, w->last);
	w->first = 0;
}
