/* test_ldap_msg.c - LDAP messages as bytes: requests as they leave, names that cannot change a filter, answers
 * cut at each point and with each byte changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "directory/ldap_msg.h"
#include "directory/ldap_query.h"

enum { BYTES_MAX = 64 * 1024 };

/* An entry of two attributes, one with two values, and a control behind it. */
static const unsigned char entry_bytes[] = {
	0x30, 0x38,                                             /* message */
	0x02, 0x01, 0x07,                                       /* id 7 */
	0x64, 0x2b,                                             /* entry */
	0x04, 0x04, 'd', 'c', '=', 'x',                         /* DN */
	0x30, 0x23,                                             /* attributes */
	0x30, 0x0f, 0x04, 0x06, 'u', 'i', 'd', ';', 'x', 'y',   /* an option behind the name */
	0x31, 0x05, 0x04, 0x03, 'a', 'n', 'n',                  /* one value */
	0x30, 0x10, 0x04, 0x04, 'm', 'a', 'i', 'l',             /* */
	0x31, 0x08, 0x04, 0x03, 'a', '@', 'x', 0x04, 0x01, 'b', /* two values */
	0xa0, 0x06, 0x30, 0x04, 0x04, 0x02, '1', '.',           /* controls */
};

static const unsigned char result_bytes[] = {
	0x30,
	0x84,
	0x00,
	0x00,
	0x00,
	0x13,
	0x02,
	0x02,
	0x01,
	0x00, /* long length; id 256 */
	0x65,
	0x0d,
	0x0a,
	0x01,
	0x31,
	0x04,
	0x02,
	'd',
	'n',
	0x04,
	0x04,
	'w',
	'h',
	'y',
	'!',
};

static bool take(struct span bytes, struct ldap_answer *a, struct entry *e)
{
	struct buf message = BUF_INIT(BYTES_MAX);
	buf_add_span(&message, bytes);
	bool ok = ldap_take(&message, a, e);
	buf_end(&message);
	return ok;
}

static void test_entry(void **state)
{
	struct ldap_answer a;
	struct entry e;
	entry_init(&e);
	assert_true(take(span_of(entry_bytes, sizeof entry_bytes), &a, &e));
	assert_int_equal(a.id, 7);
	assert_int_equal(a.kind, LDAP_A_ENTRY);
	assert_false(a.cut);
	assert_true(span_eq_str(entry_dn(&e), "dc=x"));
	assert_true(span_eq_str(entry_get(&e, "UID", 0), "ann"));
	assert_true(span_eq_str(entry_get(&e, "mail", 0), "a@x"));
	assert_true(span_eq_str(entry_get(&e, "mail", 1), "b"));
	assert_null(entry_get(&e, "mail", 2).p);
	entry_end(&e);
}

static void test_result(void **state)
{
	struct ldap_answer a;
	struct entry e;
	struct buf message = BUF_INIT(BYTES_MAX);
	entry_init(&e);
	buf_add(&message, result_bytes, sizeof result_bytes);
	assert_true(ldap_take(&message, &a, &e));
	assert_int_equal(a.id, 256);
	assert_int_equal(a.kind, LDAP_A_SEARCH);
	assert_int_equal(a.code, LDAP_CODE_WRONG_SECRET);
	assert_true(span_eq_str(a.text, "why!"));
	buf_end(&message);
	entry_end(&e);
}

/* Nothing shorter is a message, and a part of one is only ever "more". */
static void test_cut_at_each_point(void **state)
{
	const struct span whole[] = { span_of(entry_bytes, sizeof entry_bytes),
		span_of(result_bytes, sizeof result_bytes) };
	struct ldap_answer a;
	struct entry e;
	size_t n;
	entry_init(&e);
	for (size_t k = 0; k < COUNT_OF(whole); k++) {
		for (size_t i = 0; i < whole[k].n; i++) {
			struct span part = span_first(whole[k], i);
			assert_int_equal(ldap_frame(part, BYTES_MAX, &n), LDAP_FRAME_MORE);
			assert_false(take(part, &a, &e));
		}
		assert_int_equal(ldap_frame(whole[k], BYTES_MAX, &n), LDAP_FRAME_WHOLE);
		assert_int_equal(n, whole[k].n);
		assert_int_equal(ldap_front_id(whole[k]), k == 0 ? 7 : 256);
	}
	entry_end(&e);
}

/* No changed length makes another whole message of it, so an entry never looks emptier than it is. (Left out: the
 * first of two neighbours of one kind, which can swallow the second.) */
static void test_lengths_cannot_lie(void **state)
{
	static const size_t lengths[] = { 1, 3, 6, 8, 14, 16, 18, 26, 28, 33, 35, 41, 48 };
	unsigned char bytes[sizeof entry_bytes];
	struct ldap_answer a;
	struct entry e;
	entry_init(&e);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		for (unsigned v = 0; v < 256; v++) {
			memcpy(bytes, entry_bytes, sizeof bytes);
			bytes[lengths[i]] = (unsigned char)v;
			if (v != entry_bytes[lengths[i]] &&
			    take(span_of(bytes, sizeof bytes), &a, &e)) {
				print_error("length at %zu changed to %u\n", lengths[i], v);
				fail();
			}
		}
	}
	entry_end(&e);
}

/* Any byte changed: no crash; under ASan and UBSan no report. */
static void test_each_byte_changed(void **state)
{
	unsigned char bytes[sizeof entry_bytes];
	struct ldap_answer a;
	struct entry e;
	entry_init(&e);
	for (size_t i = 0; i < sizeof bytes; i++) {
		for (unsigned v = 0; v < 256; v++) {
			memcpy(bytes, entry_bytes, sizeof bytes);
			bytes[i] = (unsigned char)v;
			(void)take(span_of(bytes, sizeof bytes), &a, &e);
			(void)ldap_front_id(span_of(bytes, sizeof bytes));
		}
	}
	entry_end(&e);
}

static void test_frames(void **state)
{
	static const struct {
		struct span in;
		enum ldap_frame want;
	} cases[] = {
		{ { "", 0 }, LDAP_FRAME_MORE },
		{ { "\x30", 1 }, LDAP_FRAME_MORE },
		{ { "\x30\x00", 2 }, LDAP_FRAME_WHOLE },
		{ { "\x31", 1 }, LDAP_FRAME_BAD },
		{ { "HTTP", 4 }, LDAP_FRAME_BAD },
		{ { "\x30\x80", 2 }, LDAP_FRAME_BAD },           /* indefinite */
		{ { "\x30\x85\0\0\0\0\0", 7 }, LDAP_FRAME_BAD }, /* length of length */
		{ { "\x30\xff", 2 }, LDAP_FRAME_BAD },
		{ { "\x30\x82\x01", 3 }, LDAP_FRAME_MORE },
		{ { "\x30\x84\xff\xff\xff\xff", 6 }, LDAP_FRAME_TOO_LONG },
		{ { "\x30\x82\x01\x00", 4 }, LDAP_FRAME_TOO_LONG }, /* 260 bytes, at most 259 */
		{ { "\x30\x81\xff", 3 }, LDAP_FRAME_MORE },
	};
	size_t n;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(ldap_frame(cases[i].in, 259, &n), cases[i].want);
}

static void test_front_id(void **state)
{
	static const struct {
		struct span in;
		int32_t want;
	} cases[] = {
		{ { "\x30\x84\x7f\xff\xff\xff\x02\x01\x05", 9 }, 5 },
		{ { "\x30\x84\x7f\xff\xff\xff\x02\x04\x7f\xff\xff\xff", 12 }, INT32_MAX },
		{ { "\x30\x84\x7f\xff\xff\xff\x02\x04\x80\x00\x00\x00", 12 }, 0 },
		{ { "\x30\x84\x7f\xff\xff\xff\x02\x05\x00\x00\x00\x00\x01", 13 }, 0 },
		{ { "\x30\x84\x7f\xff\xff\xff\x02\x02\x05", 9 }, 0 },
		{ { "\x30\x84\x7f\xff\xff\xff\x04\x01\x05", 9 }, 0 },
		{ { "\x30", 1 }, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(ldap_front_id(cases[i].in), cases[i].want);
}

static void test_requests(void **state)
{
	struct buf out = BUF_INIT(BYTES_MAX);
	assert_true(ldap_put_bind(&out, 1, SPAN("cn=a"), SPAN("pw")));
	assert_true(span_find_span(buf_span(&out), SPAN("\x02\x01\x03\x04\x04"
							"cn=a\x80\x02pw")) != SIZE_MAX);
	buf_clear(&out);
	assert_true(ldap_put_abandon(&out, 2, 300));
	assert_true(
	    span_find_span(buf_span(&out), SPAN("\x02\x01\x02\x50\x02\x01\x2c")) != SIZE_MAX);
	buf_clear(&out);
	assert_true(ldap_put_starttls(&out, 3));
	assert_true(span_find_span(buf_span(&out), SPAN("\x80\x16"
							"1.3.6.1.4.1.1466.20037")) != SIZE_MAX);
	buf_end(&out);
	out = BUF_INIT(16);
	assert_false(ldap_put_bind(&out, 1, SPAN("cn=a long name"), SPAN("and a secret")));
	assert_false(buf_ok(&out));
	buf_end(&out);
}

static const struct directory_conf settings = {
	.base = "dc=x",
	.deadline = 5000,
	.user_class = "inetMailUser",
	.store_class = "posternStore",
	.default_domain = "example.org",
	.attr_uid = "uid",
	.attr_mail = "mail",
	.attr_alternate = "mailAlternateAddress",
	.attr_equivalent = "mailEquivalentAddress",
	.attr_domain = "associatedDomain",
};

/* plain: with a name of nothing but 'q'. */
static void check_same_but_name(struct span hostile, struct span plain)
{
	assert_int_equal(hostile.n, plain.n);
	for (size_t i = 0; i < plain.n; i++)
		assert_true(hostile.p[i] == plain.p[i] || plain.p[i] == 'q');
}

/* A hostile name gives the same bytes as a harmless one of its length, but for the name itself: it cannot
 * change what is asked. */
static void test_names_stay_values(void **state)
{
	static const char *const locals[] = { "*", ")", "*)(uid=*", "\\2a\\28", "))(|(a=*",
		"&(|!(=~<>:=", "a\\", "\x01\x02\x30\x84", "\xc3\xa4" };
	struct buf hostile = BUF_INIT(BYTES_MAX), plain = BUF_INIT(BYTES_MAX);
	char key[128], other[128];
	for (size_t i = 0; i < COUNT_OF(locals); i++) {
		for (enum ldap_query q = 0; q < LDAP_Q_BASE; q++) {
			const char *domain = q == LDAP_Q_USER ? "@example.org" : "";
			snprintf(key, sizeof key, "%s%s", locals[i], domain);
			snprintf(other, sizeof other, "%.*s%s", (int)strlen(locals[i]),
			    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", domain);
			buf_clear(&hostile);
			buf_clear(&plain);
			assert_true(ldap_query_put(&hostile, 5, &settings, q, span_str(key)));
			assert_true(ldap_query_put(&plain, 5, &settings, q, span_str(other)));
			check_same_but_name(buf_span(&hostile), buf_span(&plain));
		}
	}
	buf_end(&hostile);
	buf_end(&plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entry),
		cmocka_unit_test(test_result),
		cmocka_unit_test(test_cut_at_each_point),
		cmocka_unit_test(test_lengths_cannot_lie),
		cmocka_unit_test(test_each_byte_changed),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_front_id),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_names_stay_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
