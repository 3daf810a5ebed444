/* test_imap_pattern.c - LIST patterns: a table of cases, and the time of the worst ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "store-backend/imap/pattern.h"

static void test_cases(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} cases[] = {
		{ "", "a", false },
		{ "a", "a", true },
		{ "a", "ab", false },
		{ "ab", "a", false },
		{ "*", "a/b/c", true },
		{ "%", "a", true },
		{ "%", "a/b", false },
		{ "%/%", "a/b", true },
		{ "%/%", "a", false },
		{ "%/%", "a/b/c", false },
		{ "a/%", "a/b", true },
		{ "a/%", "a/", true },
		{ "a*", "a", true },
		{ "a*", "a/b", true },
		{ "*b", "a/b", true },
		{ "%b", "a/b", false },
		{ "*/b", "a/c/b", true },
		{ "%/b", "a/c/b", false },
		{ "%a%b", "xa/ab", false },
		{ "%a*b", "xa/ab", true },
		{ "*a%b", "xa/ab", true },
		{ "*a%b", "xab/a/b", false },
		{ "a%%%b", "ab", true },
		{ "a***b", "a/x/b", true },
		{ "*%*", "a/b", true },
		{ "A", "a", false },
		{ "*x*y*", "axby", true },
		{ "*x*y*", "aybx", false },
		{ "*aab", "aaaab", true },
		{ "%aab", "aaaab", true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		bool fits = imap_pattern_fits(span_str(cases[i].pattern), span_str(cases[i].name));
		if (fits != cases[i].fits)
			print_error("%s on %s\n", cases[i].pattern, cases[i].name);
		assert_int_equal(fits, cases[i].fits);
	}
}

/* Against the meaning written as plainly as possible. */
static bool plainly(const char *p, const char *n)
{
	if (*p == '\0')
		return *n == '\0';
	if (*p == '*' || *p == '%')
		return plainly(p + 1, n) ||
		       (*n != '\0' && (*p == '*' || *n != '/') && plainly(p, n + 1));
	return *p == *n && plainly(p + 1, n + 1);
}

static const char *nth(size_t n, const char *alphabet, char out[8])
{
	size_t base = strlen(alphabet), len = 0;
	for (; n > 0; n /= base + 1)
		if (n % (base + 1) > 0)
			out[len++] = alphabet[n % (base + 1) - 1];
	out[len] = '\0';
	return out;
}

static void test_all_short_ones(void **state)
{
	char p[8], n[8];
	for (size_t i = 0; i < 3125; i++) {
		nth(i, "a/*%", p);
		for (size_t k = 0; k < 243; k++) {
			nth(k, "a/", n);
			if (imap_pattern_fits(span_str(p), span_str(n)) != plainly(p, n))
				print_error("%s on %s\n", p, n);
			assert_int_equal(
			    imap_pattern_fits(span_str(p), span_str(n)), plainly(p, n));
		}
	}
}

static void test_time(void **state)
{
	char pattern[IMAP_PATTERN_MAX + 1], name[255];
	memset(name, 'a', sizeof name);
	for (size_t i = 0; i < IMAP_PATTERN_MAX; i++)
		pattern[i] = "*a%a"[i % 4];
	uint64_t from = clock_mono_ms();
	for (int i = 0; i < 10; i++)
		assert_false(imap_pattern_fits(
		    span_of(pattern, IMAP_PATTERN_MAX), span_of(name, sizeof name)));
	assert_true(clock_mono_ms() - from < 2000);
	assert_false(imap_pattern_fits(span_of(pattern, IMAP_PATTERN_MAX + 1), SPAN("a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_all_short_ones),
		cmocka_unit_test(test_time),
	};
	return cmocka_run_group_tests_name("imap_pattern", tests, NULL, NULL);
}
