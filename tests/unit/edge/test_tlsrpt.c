/* test_tlsrpt.c - counts of TLS sessions: their bounds, their text, the file they live in, the day they end with. */
#include "tests/unit/net/fake_ns.h"

#include "base/fmt.h"
#include "edge/tls_policy.h"
#include "edge/tlsrpt.h"

static const uint64_t noon_us = (uint64_t)20000 * 24 * 3600 * 1000000 + 12ull * 3600 * 1000000;

static struct fake_ns ns;
static struct dns *dns;
static struct edge_conf conf;
static struct tlsrpt *t;
static char dir[] = "/tmp/postern-tlsrpt-XXXXXX", kept[64];
static unsigned asked;

static void on_question(struct ns_reply *r)
{
	asked += r->type == RR_TXT;
	r->rcode = 3;
}

static struct ticket *on_mail(
    void *arg, const struct tlsrpt_mail *m, tlsrpt_mailed_fn *fn, void *fn_arg)
{
	fail(); /* nobody here wants any */
	return NULL;
}

static void begin(void)
{
	t = tlsrpt_new(
	    &(struct tlsrpt_opts){ .loop = loop, .dns = dns, .kept = kept, .mail = on_mail }, &conf,
	    "edge.example");
}

static int setup(void **state)
{
	clock_fake(1000000, noon_us);
	loop_setup(state);
	dns = fake_ns_begin_asked(&ns, on_question);
	if (kept[0] == '\0')
		assert_non_null(mkdtemp(dir));
	snprintf(kept, sizeof kept, "%s/tls-reports", dir);
	conf = (struct edge_conf){ .tls_reports = true };
	asked = 0;
	begin();
	return 0;
}

static int teardown(void **state)
{
	tlsrpt_free(&t);
	dns_free(&dns);
	fake_ns_end(&ns);
	unlink(kept);
	return loop_teardown(state);
}

static void count(const char *domain, enum tlsrpt_result result, const char *mx)
{
	tlsrpt_count(t, &(struct tlsrpt_session){ .domain = domain, .result = result, .mx = mx });
}

static const char *shown(void)
{
	static char text[1 << 20];
	struct buf out = BUF_INIT(sizeof text - 1);
	tlsrpt_show(t, &out);
	snprintf(text, sizeof text, "%.*s", SPAN_ARG(buf_span(&out)));
	buf_end(&out);
	return text;
}

static size_t times(const char *text, const char *word)
{
	size_t n = 0;
	for (; (text = strstr(text, word)) != NULL; text += strlen(word))
		n++;
	return n;
}

static void test_sums(void **state)
{
	assert_string_equal(shown(), "[]");
	for (int i = 0; i < 5; i++)
		count("One.Example", TLSRPT_SUCCESS, "mx");
	count("one.example.", TLSRPT_VALIDATION_FAILURE, "mx");
	assert_string_equal(shown(),
	    "[{\"domain\":\"one.example\",\"policy\":\"no-policy-found\",\"good\":5,\"bad\":1}]");
	count("bad name", TLSRPT_SUCCESS, NULL);
	count("", TLSRPT_SUCCESS, NULL);
	assert_int_equal(times(shown(), "domain"), 1);
	conf.tls_reports = false;
	count("one.example", TLSRPT_SUCCESS, "mx");
	assert_int_equal(times(shown(), "\"good\":5"), 1);
}

/* What does not fit is not counted by kind, or not at all. */
static void test_bounds(void **state)
{
	char name[40];
	for (int i = 0; i < TLSRPT_POLICIES_MAX + 10; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		count(name, TLSRPT_SUCCESS, NULL);
	}
	assert_int_equal(times(shown(), "domain"), TLSRPT_POLICIES_MAX);
	for (int i = 0; i < 3 * TLSRPT_FAILURES_MAX; i++) {
		snprintf(name, sizeof name, "mx%d.example", i);
		count("d0.example", TLSRPT_CERTIFICATE_EXPIRED, name);
	}
	assert_int_equal(times(shown(), "\"bad\":48"), 1);
	tlsrpt_free(&t); /* into the file, and back */
	begin();
	assert_int_equal(times(shown(), "domain"), TLSRPT_POLICIES_MAX);
	assert_int_equal(times(shown(), "\"bad\":48"), 1);
}

static const char *json_of(struct buf *out, struct tlsrpt_policy *p, const struct tlsrpt_session *s)
{
	struct tlsrpt_about about = { .hostname = "e", .organisation = "o", .contact = "c" };
	const struct tlsrpt_policy *const v[] = { p };
	struct buf rules = BUF_INIT(TLSRPT_RULES_MAX);
	about.domain = p->domain;
	tlsrpt_put_rules(&rules, s);
	assert_true(buf_ok(&rules));
	p->rules = mem_span_str(buf_span(&rules));
	tlsrpt_put_json(out, &about, v, 1);
	MEM_FREE(&p->rules);
	buf_end(&rules);
	return buf_cstr(out);
}

/* The longest policies that are taken stand in a report, whole, and in the file. */
static void test_long(void **state)
{
	static char name[STS_MX_LENGTH_MAX + 1], tlsa[TLS_POLICY_BYTES_MAX];
	struct sts_rules *rules = MEM_NEW(struct sts_rules);
	struct out_dane dane = { .base = "mx", .tlsa = span_of(tlsa, sizeof tlsa) };
	struct tlsrpt_session s = { .domain = "a.example", .kind = TLSRPT_STS, .sts = rules };
	struct tlsrpt_policy p = { .domain = "a.example", .base = "a.example" };
	struct buf out = BUF_INIT(4 * TLSRPT_RULES_MAX);
	memset(name, 'x', STS_MX_LENGTH_MAX);
	rules->policy.mx_n = STS_MX_MAX;
	for (size_t i = 0; i < STS_MX_MAX; i++)
		rules->policy.mx[i] = span_str(name);
	assert_int_equal(times(json_of(&out, &p, &s), name), 2 * STS_MX_MAX);
	tlsrpt_count(t, &s);
	for (size_t i = 0, n = sizeof tlsa / TLS_POLICY_RECORDS_MAX; i < sizeof tlsa; i += n) {
		tlsa[i] = (char)((n - 2) >> 8);
		tlsa[i + 1] = (char)((n - 2) & 0xff);
	}
	s.kind = TLSRPT_TLSA;
	s.dane = &dane;
	buf_clear(&out);
	assert_int_equal(times(json_of(&out, &p, &s), "\"0 0 0 00"), TLS_POLICY_RECORDS_MAX);
	tlsrpt_count(t, &s);
	tlsrpt_free(&t); /* into the file, and back */
	begin();
	assert_int_equal(times(shown(), "\"good\":1"), 2);
	buf_end(&out);
	mem_free(rules);
}

/* Who has many long policies does not get all memory for them; the next day is another one. */
static void test_sum_of_long_ones(void **state)
{
	struct sts_rules *rules = MEM_NEW(struct sts_rules);
	char domain[40], name[STS_MX_LENGTH_MAX + 1] = "";
	struct tlsrpt_session s = { .domain = domain, .kind = TLSRPT_STS, .sts = rules };
	memset(name, 'x', STS_MX_LENGTH_MAX);
	rules->policy.mx_n = STS_MX_MAX;
	for (size_t i = 0; i < STS_MX_MAX; i++)
		rules->policy.mx[i] = span_str(name);
	for (int i = 0; i < 1000; i++) {
		snprintf(domain, sizeof domain, "d%d.example", i);
		tlsrpt_count(t, &s);
	}
	size_t kept_n = times(shown(), "domain"), each = 2 * STS_MX_MAX * STS_MX_LENGTH_MAX;
	assert_true(kept_n * each <= TLSRPT_RULES_SUM_MAX &&
		    kept_n * each * 11 / 10 > TLSRPT_RULES_SUM_MAX);
	count("short.example", TLSRPT_SUCCESS, NULL);
	assert_int_equal(times(shown(), "short.example"), 1);
	tlsrpt_send(t);
	assert_string_equal(shown(), "[]");
	tlsrpt_count(t, &s);
	assert_int_equal(times(shown(), "domain"), 1);
	mem_free(rules);
}

/* What DNSSEC says stands there as in a zone file, under the name it was found at. */
static void test_text(void **state)
{
	struct out_dane dane = { .base = "mx.one.example",
		.tlsa = SPAN("\0\5\3\1\1\xab\xcd\0\4\2\0\1x") };
	struct tlsrpt_session s = { .domain = "one.example", .kind = TLSRPT_TLSA, .dane = &dane };
	struct tlsrpt_failure f = { .result = TLSRPT_DNSSEC_INVALID, .mx = "mx", .n = 3 };
	struct tlsrpt_policy p = { .domain = "one.example",
		.kind = TLSRPT_TLSA,
		.base = "mx.one.example",
		.good = 7,
		.bad = 3,
		.failures = &f,
		.failure_n = 1 };
	const struct tlsrpt_policy *const v[] = { &p };
	struct tlsrpt_about about = { .hostname = "edge.example",
		.organisation = "A \"B\"",
		.contact = "c@d",
		.from = "e@f",
		.domain = "one.example",
		.from_us = noon_us,
		.to_us = noon_us + 1999999,
		.id = ident_new() };
	struct buf rules = BUF_INIT(1000), out = BUF_INIT(10000);
	tlsrpt_put_rules(&rules, &s);
	p.rules = (char *)(uintptr_t)buf_cstr(&rules);
	assert_string_equal(p.rules, "\"policy-string\":[\"3 1 1 abcd\",\"2 0 1 78\"]");
	tlsrpt_put_json(&out, &about, v, 1);
	const char *text = buf_cstr(&out);
	assert_non_null(strstr(text, "{\"organization-name\":\"A \\\"B\\\"\",\"date-range\":{"));
	assert_non_null(strstr(text, "\"start-datetime\":\"2024-10-04T12:00:00Z\",\"end-datetime\":"
				     "\"2024-10-04T12:00:01Z\""));
	assert_non_null(
	    strstr(text, "\"policy-domain\":\"mx.one.example\"},\"summary\":{\"total-successful-"
			 "session-count\":7,"
			 "\"total-failure-session-count\":3},\"failure-details\":[{\"result-type\":"
			 "\"dnssec-invalid\","
			 "\"receiving-mx-hostname\":\"mx\",\"failed-session-count\":3}]}]}"));
	buf_end(&rules);
	buf_end(&out);
}

static void test_file(void **state)
{
	static const char *const bad[] = { "", "P", "F 1 a - - 1",
		"P a 0 a 1 1 e30=", "P a 9 a 1 1 ", "P a..b 0 a 1 1 InBvbGljeS1zdHJpbmciOltd",
		"P a 0 a -1 1 InBvbGljeS1zdHJpbmciOltd", "P a 0 * 1 1 InBvbGljeS1zdHJpbmciOltd" };
	static const char good[] = "P a.example 0 a.example 3 4 InBvbGljeS1zdHJpbmciOltd\n"
				   "F 1 mx 192.0.2.1 2001:db8::1 3\nF 99 mx - - 1\nF 2 - - - 1\n";
	struct tlsrpt_policy p;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct buf text = BUF_INIT(1000);
		buf_printf(&text, "%s\n%s", bad[i], good);
		struct span rest = buf_span(&text);
		assert_true(tlsrpt_kept_take(&rest, &p));
		assert_string_equal(p.domain, "a.example");
		assert_int_equal(p.good, 3);
		assert_int_equal(p.failure_n, 2);
		assert_true(p.failures[0].connected && !p.failures[1].connected);
		tlsrpt_policy_end(&p);
		assert_false(tlsrpt_kept_take(&rest, &p));
		buf_end(&text);
	}
	for (size_t n = 0; n < sizeof good; n++) {
		char *part = mem_copy(good, n);
		struct span rest = span_of(part, n);
		if (tlsrpt_kept_take(&rest, &p))
			tlsrpt_policy_end(&p);
		mem_free(part);
	}
}

static void pass(uint64_t ms)
{
	clock_fake_advance(ms);
	for (int i = 0; i < 3; i++)
		loop_step(loop, 0);
}

/* At midnight counting begins anew; the domains are asked within four hours whether they want to know. */
static void test_midnight(void **state)
{
	count("one.example", TLSRPT_SUCCESS, NULL);
	count("two.example", TLSRPT_SUCCESS, NULL);
	pass(11ull * 3600 * 1000);
	assert_int_equal(times(shown(), "domain"), 2);
	pass(3600 * 1000 + 60000);
	pass(60000);
	assert_string_equal(shown(), "[]");
	count("three.example", TLSRPT_SUCCESS, NULL);
	pass(4ull * 3600 * 1000);
	for (int i = 0; i < 2000 && asked < 2; i++)
		loop_step(loop, 5);
	assert_int_equal(asked, 2);
	assert_int_equal(times(shown(), "domain"), 1);
}

/* A key needs a selector, and must be one. */
static void test_dkim_settings(void **state)
{
	static const struct {
		const char *key, *selector, *domain, *why;
	} cases[] = {
		{ "", "", "", "" },
		{ "", "a b", "", "" }, /* nothing is signed */
		{ "x", "", "", "selector or domain is not a name" },
		{ "x", NULL, NULL, "selector or domain is not a name" },
		{ "x", "a b", "", "selector or domain is not a name" },
		{ "x", "a", "-x-", "selector or domain is not a name" },
		{ "x", "a.b", "", "the key file holds no private key in PEM form" },
		{ "x", "a", "one.example", "the key file holds no private key in PEM form" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf why = BUF_INIT(200);
		struct edge_conf c = { .tls_report_dkim_selector = cases[i].selector,
			.tls_report_dkim_domain = cases[i].domain };
		c.tls_report_dkim_key.bytes = span_str(cases[i].key);
		assert_int_equal(tlsrpt_dkim_ok(&c, &why), cases[i].why[0] == '\0');
		assert_string_equal(buf_cstr(&why), cases[i].why);
		buf_end(&why);
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_sums),
		CASE(test_bounds),
		CASE(test_long),
		CASE(test_sum_of_long_ones),
		CASE(test_text),
		CASE(test_file),
		CASE(test_midnight),
		CASE(test_dkim_settings),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
