/* test_shelf.c - rows against a plain model: ids, the heap's order, lists, numbers used again, and how much memory
 * a million takes. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "edge/shelf.h"

enum { ROWS = 5000, STEPS = 200000, MANY = 1000000, MANY_BYTES = 525 * 100 * 1000 };

struct model {
	struct ident id;
	uint32_t number;
	int place; /* -1: not there */
	uint64_t due_ms;
};

static uint64_t earliest(const struct model *m, uint64_t now)
{
	uint64_t least = UINT64_MAX;
	for (size_t i = 0; i < ROWS; i++)
		if (m[i].place == SHELF_DUE && m[i].due_ms < least)
			least = m[i].due_ms;
	return least == UINT64_MAX || least > now ? least : now;
}

static void check_all(
    struct shelf *s, const struct model *m, const struct shelf_list *list, uint64_t now)
{
	size_t listed = 0, there = 0, walked = 0;
	uint64_t wait, due = earliest(m, now);
	uint32_t first = shelf_first(s, now, &wait);
	assert_int_equal(first == 0, due == UINT64_MAX);
	if (first != 0)
		assert_true(now + wait >= due && now + wait <= due + 20);
	for (size_t i = 0; i < ROWS; i++) {
		there += m[i].place >= 0;
		listed += m[i].place == SHELF_LISTED;
		assert_int_equal(shelf_find(s, m[i].id), m[i].place < 0 ? 0 : m[i].number);
		if (m[i].place >= 0)
			assert_true(shelf_is(s, m[i].number, m[i].id));
	}
	assert_int_equal(there, shelf_count(s));
	assert_int_equal(listed, list->n);
	for (uint32_t at = list->first; at != 0; at = shelf_row(s, at)->next)
		walked++;
	assert_int_equal(walked, listed);
	walked = 0;
	for (uint32_t at = shelf_next(s, 0); at != 0; at = shelf_next(s, at))
		walked++;
	assert_int_equal(walked, there);
}

static void move(struct shelf *s, struct model *m, struct shelf_list *list, uint64_t now)
{
	if (m->place < 0) {
		m->id = ident_new();
		m->number = shelf_add(s, &m->id);
		m->place = SHELF_IDLE;
		return;
	}
	shelf_idle(s, m->number, list);
	m->place = (int)rand_below(5) - 1;
	if (m->place < 0) {
		shelf_remove(s, m->number);
	} else if (m->place == SHELF_DUE) {
		m->due_ms = now + rand_below(100000);
		shelf_due(s, m->number, m->due_ms);
	} else if (m->place == SHELF_LISTED) {
		shelf_append(s, m->number, list);
	} else if (m->place == SHELF_LOADED) {
		shelf_load(s, m->number, m);
		assert_ptr_equal(shelf_row(s, m->number)->entry, m);
	}
}

/* The clock passes the place where hundredths of a second in 32 bits begin again. */
static void test_against_model(void **state)
{
	struct model *m = mem_array(ROWS, sizeof(*m));
	struct shelf *s = shelf_new();
	struct shelf_list list = { 0 };
	uint64_t now = 10ull * UINT32_MAX - 50000;
	for (size_t i = 0; i < ROWS; i++)
		m[i].place = -1;
	for (size_t i = 0; i < STEPS; i++) {
		move(s, &m[rand_below(ROWS)], &list, now);
		if (i % 2000 == 0)
			check_all(s, m, &list, now += 1000);
	}
	shelf_free(&s);
	mem_free(m);
}

/* In order of time; at most 52.5 bytes each with everything. */
static void test_million(void **state)
{
	struct shelf *s = shelf_new();
	struct mallinfo2 before = mallinfo2();
	uint64_t wait;
	for (uint32_t i = 1; i <= MANY; i++) {
		struct ident id = ident_new();
		assert_int_equal(shelf_add(s, &id), i);
		shelf_due(s, i, 1000ull * i);
	}
	struct mallinfo2 after = mallinfo2();
	size_t bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
	if (before.uordblks > 0) /* a sanitizer's malloc does not tell */
		assert_in_range(bytes, 1, MANY_BYTES);
	for (uint32_t i = 1; i <= MANY; i++) {
		assert_int_equal(shelf_first(s, 0, &wait), i);
		assert_int_equal(wait, 1000ull * i);
		shelf_remove(s, i);
	}
	assert_int_equal(shelf_count(s), 0);
	shelf_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_million),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
