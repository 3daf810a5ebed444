/* test_standing.c - orders that outlast a process: kept, replaced, ended, over, handed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/standing.h"

/* All that stand at now_ms, as lines of words. */
static const char *all_of(const struct standing *s, uint64_t now_ms)
{
	static char text[1000];
	struct buf b = BUF_INIT(100000);
	const char *words[STANDING_WORDS];
	size_t at = 0;
	text[0] = '\0';
	standing_pack(s, now_ms, &b);
	struct span rest = buf_span(&b);
	while (standing_next(&rest, words))
		at += (size_t)snprintf(text + at, sizeof text - at, "%s %s %s %s\n", words[0],
		    words[1], words[2], words[3]);
	buf_end(&b);
	return text;
}

static void note(
    struct standing *s, const char *word, const char *value, uint64_t seconds, uint64_t now_ms)
{
	standing_note(s, &(struct standing_order){ word, "user", value, seconds }, now_ms);
}

static void test_the_newest_stands(void **state)
{
	struct standing *s = standing_new();
	assert_string_equal(all_of(s, 0), "");
	note(s, "hold", "a", 10, 1000);
	note(s, "kick", "a", 20, 1000);
	note(s, "hold", "b", 0, 1000); /* there is none to end */
	assert_string_equal(all_of(s, 1000), "hold user a 10\nkick user a 20\n");
	assert_string_equal(all_of(s, 1001), "hold user a 10\nkick user a 20\n"); /* never less */
	note(s, "hold", "A", 5, 2000);
	assert_string_equal(all_of(s, 2000), "hold user A 5\nkick user a 19\n");
	assert_string_equal(all_of(s, 7000), "kick user a 14\n");
	note(s, "kick", "A", 0, 7000);
	assert_string_equal(all_of(s, 7000), "");
	standing_free(&s);
	assert_null(s);
	standing_free(&s);
}

static void test_handed_on(void **state)
{
	struct standing *s = standing_new(), *next = standing_new();
	struct buf b = BUF_INIT(100000);
	note(s, "hold", "a b", 10, 0);
	note(s, "kick", "", 10, 0);
	assert_true(standing_pack(s, 4000, &b));
	standing_take(next, buf_span(&b), 50000); /* of another clock */
	assert_string_equal(all_of(next, 50000), "hold user a b 6\nkick user  6\n");
	assert_string_equal(all_of(next, 56000), "");
	buf_end(&b);
	standing_free(&s);
	standing_free(&next);
}

static void test_no_more_than_the_most(void **state)
{
	struct standing *s = standing_new();
	struct buf b = BUF_INIT(1000000);
	const char *words[STANDING_WORDS];
	char value[20];
	size_t n = 0;
	for (int i = 0; i < 2 * STANDING_MAX; i++) {
		snprintf(value, sizeof value, "%d", i);
		note(s, "hold", value, 10, 0);
	}
	assert_true(standing_pack(s, 0, &b));
	for (struct span rest = buf_span(&b); standing_next(&rest, words);)
		n++;
	assert_int_equal(n, STANDING_MAX);
	note(s, "hold", "later", 10, 10000); /* in the place of one whose time is over */
	assert_string_equal(all_of(s, 10000), "hold user later 10\n");
	buf_end(&b);
	standing_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_newest_stands),
		cmocka_unit_test(test_handed_on),
		cmocka_unit_test(test_no_more_than_the_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
