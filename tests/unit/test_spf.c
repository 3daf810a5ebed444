/* test_spf.c - SPF records: which are well formed, what their terms are, what macros stand for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/spf.h"

static void test_which_are_records(void **state)
{
	assert_true(spf_is_record(SPAN("v=spf1")));
	assert_true(spf_is_record(SPAN("V=SPF1 -all")));
	assert_false(spf_is_record(SPAN("v=spf10 -all")));
	assert_false(spf_is_record(SPAN("v=spf1\t-all")));
	assert_false(spf_is_record(SPAN("v=spf")));
	assert_false(spf_is_record(SPAN(" v=spf1")));
}

static void test_syntax(void **state)
{
	static const char *const good[] = { "v=spf1", "v=spf1 ", "v=spf1  a   -all ",
		"v=spf1 +a -all ~mx ?ptr",
		"v=spf1 a/24 a//64 a/24//64 mx:x.example/0 a:%{d2}.example//128",
		"v=spf1 ip4:192.0.2.1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ip6:::1 ip4:192.0.2.77/24",
		"v=spf1 include:a.example exists:%{ir}.%{l1r+-}._spf.%{d} ptr:x.example",
		"v=spf1 redirect=_spf.%{d}", "v=spf1 exp=%{d}.x.example -all",
		"v=spf1 moo=%{x} op=auth -all", "v=spf1 exists:%%%_%-.x.example",
		"v=spf1 A:X.Example ALL", "v=spf1 a:x.example. -all", "v=spf1 exists:%{i}",
		"v=spf1 a:1.2.3.4x" };
	static const char *const bad[] = { "v=spf1 al", "v=spf1 all:x.example", "v=spf1 all/24",
		"v=spf1 -", "v=spf1 include", "v=spf1 include:", "v=spf1 exists", "v=spf1 ip4",
		"v=spf1 ip4:", "v=spf1 ip4:2001:db8::1", "v=spf1 ip6:192.0.2.1",
		"v=spf1 ip4:192.0.2.1/33", "v=spf1 ip4:192.0.2.1/", "v=spf1 ip4:192.0.2",
		"v=spf1 ip6:2001:db8::/129", "v=spf1 ip4:192.0.2.1/024", "v=spf1 a/33",
		"v=spf1 a//129", "v=spf1 a/", "v=spf1 a//", "v=spf1 a/24/64",
		"v=spf1 a:", "v=spf1 a:x", "v=spf1 a:1.2.3.4", "v=spf1 a:x.example-",
		"v=spf1 include:x.example/24", "v=spf1 -redirect=x.example",
		"v=spf1 redirect=a.example redirect=b.example",
		"v=spf1 exp=a.example exp=b.example",
		"v=spf1 redirect=", "v=spf1 exists:%{x}.example", "v=spf1 exists:%{d",
		"v=spf1 exists:%d.example", "v=spf1 exists:%{d0}.example",
		"v=spf1 exists:%{c}.example", "v=spf1 exists:%{d?}.example", "v=spf1 =x",
		"v=spf1 1x=y", "v=spf1 a\xc3\xa4", "v=spf1 a:x.\xc3\xa4.example", "v=spf1\ta" };
	struct span redirect;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		if (!spf_record_ok(span_str(good[i]), &redirect))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (spf_is_record(span_str(bad[i])) && spf_record_ok(span_str(bad[i]), &redirect))
			fail_msg("taken: %s", bad[i]);
	assert_true(spf_record_ok(SPAN("v=spf1 redirect=x.example a"), &redirect));
	assert_true(span_eq(redirect, SPAN("x.example")));
}

static void test_terms(void **state)
{
	struct spf_walk w;
	struct spf_term t;
	struct ip_addr a;
	bool bad;
	spf_walk_init(&w, SPAN("v=spf1 ~a:x.example/20//60 ip4:192.0.2.7/24 -all"));
	assert_true(spf_next(&w, &t, &bad));
	assert_true(t.kind == SPF_A && t.qualifier == '~' && t.bits_4 == 20 && t.bits_6 == 60);
	assert_true(span_eq(t.domain, SPAN("x.example")));
	assert_true(span_eq(t.text, SPAN("~a:x.example/20//60")));
	assert_true(spf_next(&w, &t, &bad));
	assert_true(ip_parse(SPAN("192.0.2.200"), &a));
	assert_true(t.kind == SPF_IP4 && t.qualifier == '+' && ip_in_prefix(a, t.net));
	assert_true(ip_parse(SPAN("192.0.3.7"), &a));
	assert_false(ip_in_prefix(a, t.net));
	assert_true(spf_next(&w, &t, &bad));
	assert_true(t.kind == SPF_ALL && t.qualifier == '-');
	assert_false(spf_next(&w, &t, &bad));
	assert_false(bad);
}

/* RFC 7208 section 7.4, and what is cut. */
static void test_macros(void **state)
{
	static const struct {
		const char *macro, *want;
	} cases[] = {
		{ "%{s}", "strong-bad@email.example.com" },
		{ "%{o}", "email.example.com" },
		{ "%{d}", "email.example.com" },
		{ "%{d4}", "email.example.com" },
		{ "%{d3}", "email.example.com" },
		{ "%{d2}", "example.com" },
		{ "%{d1}", "com" },
		{ "%{dr}", "com.example.email" },
		{ "%{d2r}", "example.email" },
		{ "%{l}", "strong-bad" },
		{ "%{l-}", "strong.bad" },
		{ "%{lr}", "strong-bad" },
		{ "%{lr-}", "bad.strong" },
		{ "%{l1r-}", "strong" },
		{ "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com" },
		{ "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com" },
		{ "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
		    "bad.strong.lp.3.2.0.192.in-addr._spf.example.com" },
		{ "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net" },
		{ "%{p}.%{h}", "unknown.mx.example.com" },
		{ "%{S}.x", "strong-bad%40email.example.com.x" },
		{ "a%%b.x", "a%b.x" },
		{ "x.example.", "x.example" },
	};
	struct spf_facts f = {
		.local = SPAN("strong-bad"),
		.sender_domain = SPAN("email.example.com"),
		.domain = SPAN("email.example.com"),
		.helo = SPAN("mx.example.com"),
	};
	struct buf out = BUF_INIT(SPF_DOMAIN_MAX);
	assert_true(ip_parse(SPAN("192.0.2.3"), &f.client));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&out);
		assert_true(spf_expand(span_str(cases[i].macro), &f, &out));
		assert_string_equal(buf_cstr(&out), cases[i].want);
	}
	assert_true(ip_parse(SPAN("2001:db8::cb01"), &f.client));
	buf_clear(&out);
	assert_true(spf_expand(SPAN("%{ir}.%{v}._spf.%{d2}"), &f, &out));
	assert_string_equal(buf_cstr(&out),
	    "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
	    "ip6._spf.example.com");
	buf_clear(&out);
	assert_true(
	    spf_expand(SPAN("%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}.%{d}."
			    "%{d}.%{d}"),
		&f, &out));
	assert_true(buf_len(&out) <= SPF_DOMAIN_MAX && buf_len(&out) > 200);
	assert_true(span_iends(buf_span(&out), SPAN("example.com")));
	static char dots[300];
	memset(dots, '.', sizeof dots - 1);
	f.local = span_str(dots);
	buf_clear(&out);
	assert_false(spf_expand(SPAN("%{l}.x"), &f, &out)); /* more parts than anybody means */
	buf_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_are_records),
		cmocka_unit_test(test_syntax),
		cmocka_unit_test(test_terms),
		cmocka_unit_test(test_macros),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
