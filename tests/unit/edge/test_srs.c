/* test_srs.c - return paths rewritten and read back: forgeries, age, keys replaced, other sites' addresses, length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "edge/srs.h"

#define DAY_US (86400ull * 1000000)
static const uint64_t now = 20000 * DAY_US + 5;

static struct srs with_keys(const char *lines)
{
	struct srs s = { .domain = "srs.test", .days = 21 };
	assert_true(srs_set_keys(&s, span_str(lines)));
	return s;
}

#define KEY_A "0123456789abcdef"
#define KEY_B "fedcba9876543210"

static void test_keys(void **state)
{
	static const struct {
		const char *lines;
		bool ok;
		size_t n;
	} cases[] = { { "", false, 0 }, { "\n \n", false, 0 }, { "short\n", false, 0 },
		{ KEY_A, true, 1 }, { KEY_A "\n\n  " KEY_B "\r\n", true, 2 },
		{ KEY_A "\nshort\n", false, 0 },
		{ KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A
			"\n" KEY_A,
		    true, 8 },
		{ KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A "\n" KEY_A
			"\n" KEY_A,
		    false, 0 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct srs s = { .domain = "srs.test" };
		assert_int_equal(srs_set_keys(&s, span_str(cases[i].lines)), cases[i].ok);
		if (cases[i].ok)
			assert_int_equal(s.key_n, cases[i].n);
	}
}

static void test_there_and_back(void **state)
{
	static const char *const senders[] = { "a@far.test", "First.Last+x=y@Sub.far.test",
		"=@far.test", "a=b@far.test", "srs0@far.test", "SRS0x=1@far.test",
		"a-very-long-local-part-of-an-address-as-mailing-lists-like-it@bounces.long.far."
		"test" };
	struct srs s = with_keys(KEY_A);
	for (size_t i = 0; i < COUNT_OF(senders); i++) {
		char out[SMTP_PATH_SIZE];
		struct smtp_path path, back, want;
		assert_true(srs_forward(&s, span_str(senders[i]), now, out));
		assert_int_equal(strncmp(out, "SRS0=", 5), 0);
		assert_int_equal(
		    smtp_address_parse(span_str(out), SMTP_PATH_LONG_LOCAL_OK, &path, NULL),
		    ERR_OK);
		assert_int_equal(srs_reverse(&s, smtp_path_text(&path), now, &back), SRS_GOOD);
		assert_int_equal(smtp_address_parse(span_str(senders[i]), 0, &want, NULL), ERR_OK);
		assert_string_equal(back.address, want.address);
	}
}

static void test_case_does_not_matter(void **state)
{
	char out[SMTP_PATH_SIZE], lower[SMTP_PATH_SIZE];
	struct smtp_path back;
	struct srs s = with_keys(KEY_A);
	assert_true(srs_forward(&s, SPAN("John@far.test"), now, out));
	memset(lower, 0, sizeof lower);
	span_lower_to(lower, span_str(out));
	assert_int_equal(srs_reverse(&s, span_str(lower), now, &back), SRS_GOOD);
	assert_string_equal(back.address, "john@far.test");
}

/* Each byte changed to each of some others: never read back as another address. */
static void test_forged(void **state)
{
	char out[SMTP_PATH_SIZE], bad[SMTP_PATH_SIZE];
	struct smtp_path back;
	struct srs s = with_keys(KEY_A);
	assert_true(srs_forward(&s, SPAN("john@far.test"), now, out));
	size_t at = span_rfind(span_str(out), '@');
	for (size_t i = 5; i < at; i++)
		for (const char *c = "AZ27=b.%"; *c != '\0'; c++) {
			memcpy(bad, out, sizeof bad);
			bad[i] = *c;
			if (ascii_lower(bad[i]) != ascii_lower(out[i]))
				assert_int_equal(
				    srs_reverse(&s, span_str(bad), now, &back), SRS_FORGED);
		}
	for (size_t cut = 5; cut < at; cut++) {
		snprintf(bad, sizeof bad, "%.*s@srs.test", (int)cut, out);
		assert_int_equal(srs_reverse(&s, span_str(bad), now, &back), SRS_FORGED);
	}
}

static void test_not_ours(void **state)
{
	static const char *const addresses[] = { "john@srs.test", "SRS@srs.test", "SRS0@srs.test",
		"SRS2=a=b=c@srs.test", "SRS0=AAAAAAAA=AA=far.test=john@other.test", "john", "" };
	struct smtp_path back;
	struct srs s = with_keys(KEY_A), off = { 0 };
	for (size_t i = 0; i < COUNT_OF(addresses); i++)
		assert_int_equal(srs_reverse(&s, span_str(addresses[i]), now, &back), SRS_NONE);
	assert_int_equal(
	    srs_reverse(&off, SPAN("SRS0=AAAAAAAA=AA=far.test=john@srs.test"), now, &back),
	    SRS_NONE);
	assert_int_equal(
	    srs_reverse(&s, SPAN("SRS0=AAAAAAAA=AA=far.test=john@srs.test"), now, &back),
	    SRS_FORGED);
}

static void test_age(void **state)
{
	char out[SMTP_PATH_SIZE];
	struct smtp_path back;
	struct srs s = with_keys(KEY_A);
	for (uint64_t day = 0; day < 2100; day += 7) { /* over the turn of the cycle */
		uint64_t then = now + day * DAY_US;
		assert_true(srs_forward(&s, SPAN("john@far.test"), then, out));
		assert_int_equal(srs_reverse(&s, span_str(out), then, &back), SRS_GOOD);
		assert_int_equal(
		    srs_reverse(&s, span_str(out), then + 21 * DAY_US, &back), SRS_GOOD);
		assert_int_equal(
		    srs_reverse(&s, span_str(out), then + 22 * DAY_US, &back), SRS_EXPIRED);
		assert_int_equal(srs_reverse(&s, span_str(out), then - DAY_US, &back), SRS_GOOD);
		assert_int_equal(
		    srs_reverse(&s, span_str(out), then - 2 * DAY_US, &back), SRS_EXPIRED);
	}
}

static void test_keys_replaced(void **state)
{
	char old[SMTP_PATH_SIZE], fresh[SMTP_PATH_SIZE];
	struct smtp_path back;
	struct srs before = with_keys(KEY_A), both = with_keys(KEY_B "\n" KEY_A),
		   after = with_keys(KEY_B);
	assert_true(srs_forward(&before, SPAN("john@far.test"), now, old));
	assert_true(srs_forward(&both, SPAN("john@far.test"), now, fresh));
	assert_string_not_equal(old, fresh);
	assert_int_equal(srs_reverse(&both, span_str(old), now, &back), SRS_GOOD);
	assert_int_equal(srs_reverse(&both, span_str(fresh), now, &back), SRS_GOOD);
	assert_int_equal(srs_reverse(&after, span_str(fresh), now, &back), SRS_GOOD);
	assert_int_equal(srs_reverse(&after, span_str(old), now, &back), SRS_FORGED);
}

/* A chain of three sites: reports go straight from the last to the first, and from there home. */
static void test_chain(void **state)
{
	char a[SMTP_PATH_SIZE], b[SMTP_PATH_SIZE], c[SMTP_PATH_SIZE];
	struct smtp_path back;
	struct srs first = with_keys(KEY_A), second = with_keys(KEY_B),
		   third = with_keys(KEY_B "x");
	first.domain = "one.test";
	second.domain = "two.test";
	third.domain = "three.test";
	assert_true(srs_forward(&first, SPAN("john@far.test"), now, a));
	assert_true(srs_forward(&second, span_str(a), now, b));
	assert_true(srs_forward(&third, span_str(b), now, c));
	assert_int_equal(strncmp(b, "SRS1=", 5), 0);
	assert_int_equal(strncmp(c, "SRS1=", 5), 0);
	assert_int_equal(srs_reverse(&third, span_str(c), now, &back), SRS_GOOD);
	assert_string_equal(back.address, a); /* not by way of two.test */
	assert_int_equal(srs_reverse(&second, span_str(b), now, &back), SRS_GOOD);
	assert_string_equal(back.address, a);
	assert_int_equal(srs_reverse(&first, smtp_path_text(&back), now, &back), SRS_GOOD);
	assert_string_equal(back.address, "john@far.test");
	assert_int_equal(
	    srs_reverse(&second, SPAN("SRS1=AAAAAAAA=one.test==x@two.test"), now, &back),
	    SRS_FORGED);
}

static void test_too_long(void **state)
{
	char sender[300], out[SMTP_PATH_SIZE];
	struct srs s = with_keys(KEY_A);
	memset(sender, 'a', sizeof sender);
	snprintf(sender + 230, 70, "@far.test");
	assert_false(srs_forward(&s, span_str(sender), now, out));
	assert_false(srs_forward(&s, SPAN("\"quoted one\"@far.test"), now, out));
	assert_false(srs_forward(&s, SPAN("SRS1=x@far.test"), now, out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_case_does_not_matter),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_age),
		cmocka_unit_test(test_keys_replaced),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
