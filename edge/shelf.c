/* shelf.c - rows, a table of ids that grows by one bucket for each row (linear hashing: no insertion stalls),
 * and a binary heap of row numbers, all in blocks that never move. Owns all three, nothing else. */
#include "edge/shelf.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

enum { BLOCK = 2048, BUCKETS_FIRST = 1024, WORDS = 4096 };

_Static_assert(sizeof(struct shelf_row) == 44, "a row is what bounds the queue");

/* An array of numbers that grows and shrinks at its end without moving. */
struct words {
	uint32_t **blocks; /* owned, like what they point to */
	size_t block_n, cap;
};

struct shelf {
	struct shelf_row **blocks; /* owned, like what they point to */
	size_t block_n, block_cap;
	uint32_t rows, unused; /* numbers given so far; the first of those that are free again */
	size_t count;
	struct words buckets;
	size_t bucket_n;
	size_t level; /* a power of 2, at most bucket_n */
	struct words heap;
	size_t heap_n;
};

/* ---- numbers ------------------------------------------------------------------------------------ */

static uint32_t *word(const struct words *w, size_t at)
{
	return &w->blocks[at / WORDS][at % WORDS];
}

/* Room for n; what is new is 0. */
static void words_room(struct words *w, size_t n)
{
	while (w->block_n * WORDS < n) {
		if (w->block_n == w->cap) {
			w->cap = w->cap == 0 ? 16 : 2 * w->cap;
			w->blocks = mem_grow(w->blocks, w->cap, sizeof(*w->blocks));
		}
		w->blocks[w->block_n++] = mem_array(WORDS, sizeof(uint32_t));
	}
}

/* n are left. One block more is kept, so that the next does not come and go. */
static void words_shrink(struct words *w, size_t n)
{
	while (w->block_n * WORDS > n + 2 * (size_t)WORDS)
		mem_free(w->blocks[--w->block_n]);
}

static void words_end(struct words *w)
{
	for (size_t i = 0; i < w->block_n; i++)
		mem_free(w->blocks[i]);
	mem_free(w->blocks);
}

/* ---- rows by number ----------------------------------------------------------------------------- */

struct shelf_row *shelf_row(const struct shelf *s, uint32_t number)
{
	CHECK(number > 0 && number <= s->rows);
	return &s->blocks[(number - 1) / BLOCK][(number - 1) % BLOCK];
}

/* ---- ids ---------------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct ident *id)
{
	return hash_keyed(span_of(id->s, IDENT_LEN));
}

/* The head of the chain where rows with this hash are. */
static uint32_t *bucket_of(const struct shelf *s, uint64_t hash)
{
	size_t wide = hash & (2 * s->level - 1);
	return word(&s->buckets, wide < s->bucket_n ? wide : wide & (s->level - 1));
}

/* One bucket more: what belongs there comes from the one it shared until now. */
static void split(struct shelf *s)
{
	words_room(&s->buckets, s->bucket_n + 1);
	if (s->bucket_n == 2 * s->level)
		s->level *= 2;
	uint32_t *old = word(&s->buckets, s->bucket_n - s->level);
	uint32_t row = *old, next;
	s->bucket_n++;
	*old = 0;
	for (; row != 0; row = next) {
		struct shelf_row *r = shelf_row(s, row);
		uint32_t *head = bucket_of(s, r->id);
		next = r->same;
		r->same = *head;
		*head = row;
	}
}

uint32_t shelf_find(const struct shelf *s, struct ident id)
{
	if (id.s[0] == '\0')
		return 0;
	uint64_t hash = hash_of(&id);
	uint32_t row = *bucket_of(s, hash);
	while (row != 0 && shelf_row(s, row)->id != hash)
		row = shelf_row(s, row)->same;
	return row;
}

bool shelf_is(const struct shelf *s, uint32_t number, struct ident id)
{
	return id.s[0] != '\0' && shelf_row(s, number)->id == hash_of(&id);
}

static void unhash(struct shelf *s, uint32_t number)
{
	struct shelf_row *r = shelf_row(s, number);
	uint32_t *head = bucket_of(s, r->id), before = *head;
	if (before == number) {
		*head = r->same;
		return;
	}
	while (shelf_row(s, before)->same != number)
		before = shelf_row(s, before)->same;
	shelf_row(s, before)->same = r->same;
}

/* ---- the heap ----------------------------------------------------------------------------------- */

/* Hundredths wrap after 497 days; what waits, waits for less than half of that. */
static bool is_before(const struct shelf *s, uint32_t a, uint32_t b)
{
	return (int32_t)(shelf_row(s, a)->due_cs - shelf_row(s, b)->due_cs) < 0;
}

static uint32_t heap_at(const struct shelf *s, size_t at) /* from 1 */
{
	return *word(&s->heap, at - 1);
}

static void put_at(struct shelf *s, uint32_t number, size_t at)
{
	*word(&s->heap, at - 1) = number;
	shelf_row(s, number)->at = (uint32_t)at;
}

static void sift(struct shelf *s, uint32_t number)
{
	size_t at = shelf_row(s, number)->at, child;
	for (; at > 1 && is_before(s, number, heap_at(s, at / 2)); at /= 2)
		put_at(s, heap_at(s, at / 2), at);
	for (; (child = at * 2) <= s->heap_n; at = child) {
		if (child < s->heap_n && is_before(s, heap_at(s, child + 1), heap_at(s, child)))
			child++;
		if (!is_before(s, heap_at(s, child), number))
			break;
		put_at(s, heap_at(s, child), at);
	}
	put_at(s, number, at);
}

static void heap_take(struct shelf *s, uint32_t number)
{
	size_t at = shelf_row(s, number)->at;
	uint32_t last = heap_at(s, s->heap_n--);
	if (last != number) {
		put_at(s, last, at);
		sift(s, last);
	}
	words_shrink(&s->heap, s->heap_n);
}

uint32_t shelf_first(const struct shelf *s, uint64_t now_ms, uint64_t *wait_ms_out)
{
	if (s->heap_n == 0)
		return 0;
	uint32_t first = heap_at(s, 1);
	int32_t wait = (int32_t)(shelf_row(s, first)->due_cs - (uint32_t)(now_ms / 10));
	*wait_ms_out = wait > 0 ? 10ull * (uint32_t)wait : 0;
	return first;
}

/* ---- rows --------------------------------------------------------------------------------------- */

static uint32_t new_number(struct shelf *s)
{
	uint32_t number = s->unused;
	if (number != 0) {
		s->unused = shelf_row(s, number)->same;
		return number;
	}
	CHECK(s->rows < UINT32_MAX);
	if (s->rows == s->block_n * BLOCK) {
		if (s->block_n == s->block_cap) {
			s->block_cap = s->block_cap == 0 ? 16 : 2 * s->block_cap;
			s->blocks = mem_grow(s->blocks, s->block_cap, sizeof(*s->blocks));
		}
		s->blocks[s->block_n++] = mem_array(BLOCK, sizeof(struct shelf_row));
	}
	return ++s->rows;
}

uint32_t shelf_add(struct shelf *s, const struct ident *id)
{
	uint32_t number = new_number(s);
	struct shelf_row *r = shelf_row(s, number);
	if (s->count++ >= s->bucket_n)
		split(s);
	*r = (struct shelf_row){ .id = hash_of(id), .place = SHELF_IDLE, .used = 1 };
	uint32_t *head = bucket_of(s, r->id);
	r->same = *head;
	*head = number;
	return number;
}

void shelf_remove(struct shelf *s, uint32_t number)
{
	struct shelf_row *r = shelf_row(s, number);
	if (r->place != SHELF_IDLE)
		shelf_idle(s, number, NULL);
	unhash(s, number);
	r->used = 0;
	r->same = s->unused;
	s->unused = number;
	s->count--;
}

size_t shelf_count(const struct shelf *s)
{
	return s->count;
}

uint32_t shelf_next(const struct shelf *s, uint32_t number)
{
	while (number < s->rows)
		if (shelf_row(s, ++number)->used)
			return number;
	return 0;
}

/* ---- places ------------------------------------------------------------------------------------- */

static void unlist(struct shelf *s, struct shelf_row *r, struct shelf_list *from)
{
	CHECK(from != NULL && from->n > 0);
	if (r->prev != 0)
		shelf_row(s, r->prev)->next = r->next;
	else
		from->first = r->next;
	if (r->next != 0)
		shelf_row(s, r->next)->prev = r->prev;
	else
		from->last = r->prev;
	from->n--;
}

void shelf_idle(struct shelf *s, uint32_t number, struct shelf_list *from)
{
	struct shelf_row *r = shelf_row(s, number);
	if (r->place == SHELF_DUE)
		heap_take(s, number);
	else if (r->place == SHELF_LISTED)
		unlist(s, r, from);
	r->place = SHELF_IDLE;
	r->owner = 0;
}

void shelf_due(struct shelf *s, uint32_t number, uint64_t due_ms)
{
	struct shelf_row *r = shelf_row(s, number);
	CHECK(r->place == SHELF_IDLE);
	words_room(&s->heap, ++s->heap_n);
	r->place = SHELF_DUE;
	r->due_cs = (uint32_t)((due_ms + 9) / 10);
	put_at(s, number, s->heap_n);
	sift(s, number);
}

void shelf_append(struct shelf *s, uint32_t number, struct shelf_list *to)
{
	struct shelf_row *r = shelf_row(s, number);
	CHECK(r->place == SHELF_IDLE);
	r->place = SHELF_LISTED;
	r->prev = to->last;
	r->next = 0;
	if (to->last != 0)
		shelf_row(s, to->last)->next = number;
	else
		to->first = number;
	to->last = number;
	to->n++;
}

void shelf_load(struct shelf *s, uint32_t number, void *entry)
{
	struct shelf_row *r = shelf_row(s, number);
	CHECK(r->place == SHELF_IDLE);
	r->place = SHELF_LOADED;
	r->entry = entry;
}

/* Three bits behind the first one, and where that stands. */
unsigned shelf_size_code(uint64_t bytes)
{
	unsigned shift = 0;
	while (bytes >= 16) {
		bytes >>= 1;
		shift++;
	}
	unsigned code = shift == 0 ? (unsigned)bytes : 8 * (shift + 1) + (unsigned)bytes - 8;
	return code < 256 ? code : 255;
}

uint64_t shelf_size(unsigned code)
{
	unsigned shift = code / 8;
	if (code < 16)
		return code;
	shift--;
	return ((uint64_t)(8 + code % 8) << shift) + ((uint64_t)1 << shift) / 2;
}

uint64_t shelf_minutes(uint64_t wall_us)
{
	static const uint64_t minute_us = 60000000, epoch_2020_us = 1577836800000000;
	return wall_us < epoch_2020_us ? 0 : (wall_us - epoch_2020_us) / minute_us;
}

/* ---- life --------------------------------------------------------------------------------------- */

struct shelf *shelf_new(void)
{
	struct shelf *s = MEM_NEW(struct shelf);
	s->bucket_n = s->level = BUCKETS_FIRST;
	words_room(&s->buckets, BUCKETS_FIRST);
	return s;
}

void shelf_free(struct shelf **ps)
{
	struct shelf *s = *ps;
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->block_n; i++)
		mem_free(s->blocks[i]);
	mem_free(s->blocks);
	words_end(&s->buckets);
	words_end(&s->heap);
	MEM_FREE(ps);
}
