/* test_mta_sts.c - records and policies of MTA-STS: what is taken, what is not, at every cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "proto/mta_sts.h"

static void test_records(void **state)
{
	static const struct {
		const char *text, *id; /* id NULL: malformed */
	} cases[] = {
		{ "v=STSv1; id=20160831085700Z;", "20160831085700Z" },
		{ "v=STSv1;id=a", "a" },
		{ "v=STSv1 ;\t id=a ; x=y", "a" },
		{ "v=STSv1; x.y-z_1=!; id=Z9;", "Z9" },
		{ "v=STSv1; id=a; id=b", "a" },
		{ "v=STSv1; id=12345678901234567890123456789012",
		    "12345678901234567890123456789012" },
		{ "v=STSv1; id=123456789012345678901234567890123", NULL },
		{ "v=STSv1;", NULL },
		{ "v=STSv1; x=y", NULL },
		{ "v=STSv1; id=", NULL },
		{ "v=STSv1; id=a-b", NULL },
		{ "v=STSv1; id=a b", NULL },
		{ "v=STSv1; id=a;; x=y", NULL },
		{ "v=STSv1; id=a; x", NULL },
		{ "v=STSv1; id=a; =y", NULL },
		{ "v=STSv1; id=a; x=y=z", NULL },
		{ "v=STSv1; ID=a", NULL },
		{ "v=stsv1; id=a", NULL },
		{ " v=STSv1; id=a", NULL },
		{ "v=STSv1 id=a", NULL },
		{ "v=STSv12; id=a", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span id;
		bool ok = sts_record_parse(span_str(cases[i].text), &id);
		assert_int_equal(ok, cases[i].id != NULL);
		if (ok)
			assert_true(span_eq_str(id, cases[i].id));
	}
	assert_true(sts_is_record(SPAN("v=STSv1; what=ever=")));
	assert_false(sts_is_record(SPAN("v=spf1 -all")));
	assert_false(sts_is_record(SPAN("v=STSv1")));
}

#define HEAD "version: STSv1\nmode: enforce\nmax_age: 86400\n"

static void test_policies(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		enum sts_mode mode;
		uint32_t max_age;
		size_t mx;
	} cases[] = {
		{ HEAD "mx: mail.example.org\n", true, STS_ENFORCE, 86400, 1 },
		{ HEAD "mx: mail.example.org", true, STS_ENFORCE, 86400, 1 },
		{ "version: STSv1\r\nmode: testing\r\nmx: *.example.org\r\nmx: "
		  "a_b.example\r\nmax_age: 1\r\n",
		    true, STS_TESTING, 1, 2 },
		{ "version:STSv1 \nmode:\tnone\t\nmax_age:0\n", true, STS_NONE, 0, 0 },
		{ HEAD "mx: a\nmode: none\nmax_age: 1\nversion: STSv2\nnew-field: \xc3\xa4 b\n",
		    true, STS_ENFORCE, 86400, 1 },
		{ "mode: enforce\nmx: a\nmax_age: 9999999999\nversion: STSv1\n", true, STS_ENFORCE,
		    STS_MAX_AGE_S, 1 },
		{ HEAD, false, 0, 0, 0 },
		{ HEAD "mx: a\n\n", false, 0, 0, 0 },
		{ "\n" HEAD "mx: a\n", false, 0, 0, 0 },
		{ HEAD "mx: \n", false, 0, 0, 0 },
		{ HEAD "mx: a.\n", false, 0, 0, 0 },
		{ HEAD "mx: a..b\n", false, 0, 0, 0 },
		{ HEAD "mx: *\n", false, 0, 0, 0 },
		{ HEAD "mx: *.\n", false, 0, 0, 0 },
		{ HEAD "mx: a.*.b\n", false, 0, 0, 0 },
		{ HEAD "mx: a, b\n", false, 0, 0, 0 },
		{ HEAD "mx: [192.0.2.1]\n", false, 0, 0, 0 },
		{ HEAD "mx: a\nnonsense\n", false, 0, 0, 0 },
		{ HEAD "mx: a\n-x: y\n", false, 0, 0, 0 },
		{ HEAD "mx: a\nx: y\rz\n", false, 0, 0, 0 },
		{ HEAD "mx: a\nx: \xff\n", false, 0, 0, 0 },
		{ "version: STSv1\nmode: Enforce\nmax_age: 1\nmx: a\n", false, 0, 0, 0 },
		{ "version: STSv2\nmode: enforce\nmax_age: 1\nmx: a\n", false, 0, 0, 0 },
		{ "version: STSv1\nmode: enforce\nmax_age: -1\nmx: a\n", false, 0, 0, 0 },
		{ "version: STSv1\nmode: enforce\nmax_age: 12345678901\nmx: a\n", false, 0, 0, 0 },
		{ "version: STSv1\nmode: enforce\nmx: a\n", false, 0, 0, 0 },
		{ "version: STSv1\nmax_age: 1\nmx: a\n", false, 0, 0, 0 },
		{ "mode: enforce\nmax_age: 1\nmx: a\n", false, 0, 0, 0 },
		{ "", false, 0, 0, 0 },
		{ "<html>", false, 0, 0, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sts_policy p;
		assert_int_equal(sts_policy_parse(span_str(cases[i].text), &p), cases[i].ok);
		if (!cases[i].ok)
			continue;
		assert_int_equal(p.mode, cases[i].mode);
		assert_int_equal(p.max_age_s, cases[i].max_age);
		assert_int_equal(p.mx_n, cases[i].mx);
	}
}

/* A policy that is cut off anywhere is never weaker than the whole, and nothing outside is read. */
static void test_cuts(void **state)
{
	static const char text[] = "version: STSv1\r\nmx: *.example.org\r\nmx: b.example.org\r\n"
				   "max_age: 86400\r\nmode: enforce\r\n";
	for (size_t n = 0; n < sizeof text; n++) {
		char *part = mem_copy(text, n);
		struct sts_policy p;
		if (sts_policy_parse(span_of(part, n), &p))
			assert_true(p.mode == STS_ENFORCE && p.mx_n == 2 && n >= sizeof text - 3);
		mem_free(part);
	}
}

static void test_bounds(void **state)
{
	struct sts_policy p;
	struct buf text = BUF_INIT(2 * STS_POLICY_MAX);
	buf_add_str(&text, HEAD);
	for (int i = 0; i < STS_MX_MAX; i++)
		buf_add_str(&text, "mx: a\n");
	assert_true(sts_policy_parse(buf_span(&text), &p));
	buf_add_str(&text, "mx: a\n");
	assert_false(sts_policy_parse(buf_span(&text), &p));
	buf_clear(&text);
	buf_add_str(&text, HEAD "mx: a\nx: ");
	while (buf_len(&text) < STS_POLICY_MAX)
		buf_add_char(&text, 'x');
	assert_true(sts_policy_parse(buf_span(&text), &p));
	buf_add_char(&text, 'x');
	assert_false(sts_policy_parse(buf_span(&text), &p));
	buf_end(&text);
}

static void test_matches(void **state)
{
	static const struct {
		const char *pattern, *host;
		bool yes;
	} cases[] = {
		{ "mail.example.org", "mail.example.org", true },
		{ "mail.example.org", "MAIL.Example.org.", true },
		{ "*.example.org", "a.example.org", true },
		{ "*.example.org", "a.b.example.org", false },
		{ "*.example.org", "example.org", false },
		{ "*.example.org", ".example.org", false },
		{ "*.example.org", "aexample.org", false },
		{ "mail.example.org", "a.mail.example.org", false },
		{ "mail.example.org", "", false },
		{ "*.org", "", false },
		{ "*.org", "org", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(
		    sts_mx_matches(span_str(cases[i].pattern), span_str(cases[i].host)),
		    cases[i].yes);
}

static void test_reports(void **state)
{
	static const struct {
		const char *text;
		size_t n; /* 0: nobody is to be told */
		const char *last;
	} cases[] = {
		{ "v=TLSRPTv1; rua=mailto:reports@example.org", 1, "mailto:reports@example.org" },
		{ "v=TLSRPTv1;rua=https://reports.example.org/v1/tlsrpt?a=b;", 1,
		    "https://reports.example.org/v1/tlsrpt?a=b" },
		{ "v=TLSRPTv1; rua=mailto:a@b , https://c:444/d; x=y", 2, "https://c:444/d" },
		{ "v=TLSRPTv1; rua=ftp://a/b, mailto:a@b", 1, "mailto:a@b" },
		{ "v=TLSRPTv1; rua=mailto:a@b,mailto:a@b,mailto:a@b,mailto:c@d,mailto:e@f", 4,
		    "mailto:c@d" },
		{ "v=TLSRPTv1; rua=ftp://a/b", 0, "" },
		{ "v=TLSRPTv1; rua=", 0, "" },
		{ "v=TLSRPTv1; rua=mailto:a@b,", 0, "" },
		{ "v=TLSRPTv1; rua=mailto:a@b!10m", 0, "" },
		{ "v=TLSRPTv1; rua=mailto:a b@c", 0, "" },
		{ "v=TLSRPTv1; rua=mailto:a%40b@c", 0, "" },
		{ "v=TLSRPTv1; rua=mailto:nobody", 0, "" },
		{ "v=TLSRPTv1; rua=https://a:0/", 0, "" },
		{ "v=TLSRPTv1; rua=https://a:b/", 0, "" },
		{ "v=TLSRPTv1; rua=https://a@b/", 0, "" },
		{ "v=TLSRPTv1; rua=https://", 0, "" },
		{ "v=TLSRPTv1;", 0, "" },
		{ "v=TLSRPTv2; rua=mailto:a@b", 0, "" },
		{ "rua=mailto:a@b", 0, "" },
		{ "v=TLSRPTv1 rua=mailto:a@b", 0, "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tlsrpt_uris u;
		assert_int_equal(tlsrpt_record_parse(span_str(cases[i].text), &u), cases[i].n > 0);
		if (cases[i].n == 0)
			continue;
		assert_int_equal(u.n, cases[i].n);
		assert_true(span_eq_str(u.v[u.n - 1], cases[i].last));
	}
	struct span host, path;
	uint16_t port;
	assert_true(tlsrpt_https(SPAN("HTTPS://a.example"), &host, &port, &path));
	assert_true(span_eq_str(host, "a.example") && port == 443 && span_eq_str(path, "/"));
	assert_true(tlsrpt_https(SPAN("https://a:8443/b?c"), &host, &port, &path));
	assert_true(port == 8443 && span_eq_str(path, "/b?c"));
	assert_true(tlsrpt_mailto(SPAN("mailto:a@b?subject=x"), &host));
	assert_true(span_eq_str(host, "a@b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_reports),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
