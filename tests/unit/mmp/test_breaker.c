/* test_breaker.c - circuit breakers of stores, and losses spread over a window: arithmetic against a clock that the
 * test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "net/loop.h"

#include "mmp/backend_health.h"
#include "mmp/store_load.h"

enum { START = 1000000, RETURN = 10000, WAIT_MAX = 5000 };

static const struct backend_pause pause = { 1000, 8000 };
static const struct span store = { "store1:143", 10 };
static struct backend_health *health;

static int setup(void **state)
{
	health = backend_health_new(10);
	return 0;
}

static int teardown(void **state)
{
	backend_health_free(&health);
	assert_null(health);
	return 0;
}

static bool may(uint64_t now)
{
	uint64_t wait;
	return backend_health_try(health, store, now, WAIT_MAX, &wait);
}

static void bad(uint64_t now)
{
	backend_health_bad(health, store, pause, now);
}

static bool good(uint64_t now)
{
	return backend_health_good(health, store, RETURN, now);
}

static void test_pauses_double(void **state)
{
	uint64_t now = START, expected = 1000;
	assert_true(may(now));
	assert_false(good(now)); /* it was never bad */
	for (int i = 0; i < 6; i++) {
		bad(now);
		bad(now + 1); /* the others of that moment: once */
		assert_false(may(now + expected - 1));
		now += expected;
		assert_true(may(now));
		expected = expected < 8000 ? 2 * expected : 8000;
	}
	assert_true(may(now) && may(now + 1)); /* BACKEND_TRIALS in all */
	assert_false(may(now + 2));
}

static void test_trials_without_a_report(void **state)
{
	bad(START);
	for (uint64_t now = START + 1000; now < START + 5000; now += 1000) {
		for (int i = 0; i < BACKEND_TRIALS; i++)
			assert_true(may(now));
		assert_false(may(now));
		assert_false(may(now + 999));
	}
}

/* Many ask in every millisecond: who is let through, by second, is 10, 20, 40 ... */
static void test_a_slow_return(void **state)
{
	uint64_t begun = START + 1000, through[RETURN / 1000 + 1] = { 0 };
	bad(START);
	assert_true(may(begun));
	assert_true(good(begun));
	assert_false(good(begun)); /* told once */
	for (uint64_t now = begun; now < begun + RETURN; now++)
		for (int i = 0; i < 3; i++) {
			uint64_t wait;
			if (!backend_health_try(health, store, now, WAIT_MAX, &wait))
				continue;
			assert_true(wait <= WAIT_MAX);
			if (now + wait < begun + RETURN)
				through[(now + wait - begun) / 1000]++;
		}
	assert_in_range(through[0], 8, 12);
	for (size_t s = 0; s < RETURN / 1000; s++)
		assert_true(through[s] <= 2 * (10u << s) && through[s] > 0);
	uint64_t wait = 1;
	for (int i = 0; i < 100000; i++) /* forgotten: as ever */
		assert_true(backend_health_try(health, store, begun + RETURN, WAIT_MAX, &wait) &&
			    wait == 0);
}

/* One that falls back is left alone for longer than the last time. */
static void test_a_failed_return(void **state)
{
	bad(START);
	assert_true(may(START + 1000) && good(START + 1000));
	assert_true(may(START + 1500));
	bad(START + 2000);
	assert_false(may(START + 3999));
	assert_true(may(START + 4000));
}

static void test_no_slow_return(void **state)
{
	uint64_t wait = 1;
	bad(START);
	assert_true(may(START + 1000));
	assert_true(backend_health_good(health, store, 0, START + 1000));
	for (int i = 0; i < 100; i++)
		assert_true(backend_health_try(health, store, START + 1000, 0, &wait) && wait == 0);
}

/* ---- losses ---------------------------------------------------------------------------------------- */

/* A thousand at once: the first few are told at once, the others evenly and never later than the window. */
static void test_losses_are_spread(void **state)
{
	enum { MANY = 1000, WINDOW = 30000, PARTS = 10 };
	static struct store_slot *slots[MANY];
	size_t in_part[PARTS + 1] = { 0 }, told = 0, crowd;
	clock_fake(START, START);
	struct loop *loop = loop_new();
	struct store_load *load = store_load_new(loop);
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < MANY; i++) {
			assert_non_null(slots[i] = store_load_take(load, "store1", 0));
			store_slot_settle(slots[i]);
		}
		for (size_t i = 0; i < MANY; i++) {
			uint64_t ms = store_slot_lost(slots[i], WINDOW, &crowd);
			assert_true(ms <= WINDOW && (i < 10) == (ms == 0));
			told += crowd;
			in_part[ms * PARTS / WINDOW]++;
			store_slot_drop(&slots[i]);
		}
		assert_int_equal(told, (size_t)MANY * (size_t)(turn + 1));
	}
	for (size_t i = 0; i < PARTS; i++)
		assert_in_range(in_part[i], 2 * MANY / PARTS * 8 / 10, 2 * MANY / PARTS * 12 / 10);
	store_load_free(&load);
	loop_free(&loop);
	clock_fake_off();
}

/* Ends that come by themselves, one after the other, are not held up. */
static void test_losses_that_are_none(void **state)
{
	enum { MANY = 100, WINDOW = 30000 };
	struct store_slot *slots[MANY];
	size_t crowd;
	clock_fake(START, START);
	struct loop *loop = loop_new();
	struct store_load *load = store_load_new(loop);
	for (size_t i = 0; i < MANY; i++) {
		slots[i] = store_load_take(load, "store1", 0);
		store_slot_settle(slots[i]);
	}
	for (size_t i = 0; i < MANY / 2; i++) {
		assert_int_equal(store_slot_lost(slots[i], WINDOW, &crowd), 0);
		store_slot_drop(&slots[i]);
		clock_fake_advance(2 * WINDOW / MANY);
		loop_step(loop, 0);
	}
	for (size_t i = MANY / 2; i < MANY; i++)
		store_slot_drop(&slots[i]);
	store_load_free(&load);
	loop_free(&loop);
	clock_fake_off();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_pauses_double),
		CASE(test_trials_without_a_report),
		CASE(test_a_slow_return),
		CASE(test_a_failed_return),
		CASE(test_no_slow_return),
		CASE(test_losses_are_spread),
		CASE(test_losses_that_are_none),
	};
	return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
