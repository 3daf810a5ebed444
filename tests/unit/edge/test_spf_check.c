/* test_spf_check.c - SPF through a scripted name server: matches, includes, limits, and a DNS that fails. */
#include "tests/unit/net/fake_ns.h"

#include "edge/spf.h"
#include "net/dns.h"

static struct fake_ns ns;
static struct dns *dns;
static struct spf_answer got;
static unsigned answers;

static const struct {
	const char *name;
	unsigned type;
	const char *data; /* TXT: the text; A, AAAA: an address; MX: a host; "fail", "drop" */
} zone[] = {
	{ "good.test", RR_TXT, "v=spf1 ip4:203.0.113.0/28 ip6:2001:db8:1::/48 -all" },
	{ "good.test", RR_TXT, "another text" },
	{ "soft.test", RR_TXT, "v=spf1 ~all" },
	{ "neutral.test", RR_TXT, "v=spf1 ?all" },
	{ "open.test", RR_TXT, "v=spf1" },
	{ "text.test", RR_TXT, "no record of that kind" },
	{ "two.test", RR_TXT, "v=spf1 -all" },
	{ "two.test", RR_TXT, "v=spf1 +all" },
	{ "wrong.test", RR_TXT, "v=spf1 +all frob" },
	{ "fail.test", RR_TXT, "fail" },
	{ "slow.test", RR_TXT, "drop" },
	{ "a.test", RR_TXT, "v=spf1 a a:h.test/28 -all" },
	{ "a.test", RR_A, "198.51.100.7" },
	{ "h.test", RR_A, "203.0.113.1" },
	{ "h.test", RR_AAAA, "2001:db8:9::1" },
	{ "six.test", RR_TXT, "v=spf1 a:h.test//48 -all" },
	{ "mx.test", RR_TXT, "v=spf1 mx -all" },
	{ "mx.test", RR_MX, "away.test" },
	{ "mx.test", RR_MX, "h.test" },
	{ "many.test", RR_TXT, "v=spf1 mx -all" },
	{ "ptr.test", RR_TXT, "v=spf1 ptr -all" },
	{ "1.113.0.203.in-addr.arpa", RR_PTR, "mail.ptr.test" },
	{ "mail.ptr.test", RR_A, "203.0.113.1" },
	{ "ex.test", RR_TXT, "v=spf1 exists:%{ir}.%{l}.ok.test -all" },
	{ "1.113.0.203.joe.ok.test", RR_A, "127.0.0.2" },
	{ "inc.test", RR_TXT, "v=spf1 include:soft.test -include:good.test ~all" },
	{ "nest.test", RR_TXT, "v=spf1 ?include:inner.test +all" },
	{ "inner.test", RR_TXT, "v=spf1 include:good.test -all" },
	{ "red.test", RR_TXT, "v=spf1 redirect=good.test" },
	{ "all.test", RR_TXT, "v=spf1 redirect=good.test ?all" },
	{ "lost.test", RR_TXT, "v=spf1 redirect=nowhere.test" },
	{ "incnone.test", RR_TXT, "v=spf1 include:text.test +all" },
	{ "incfail.test", RR_TXT, "v=spf1 include:fail.test +all" },
	{ "loop.test", RR_TXT, "v=spf1 include:loop.test +all" },
	{ "spin.test", RR_TXT, "v=spf1 redirect=spin.test" },
	{ "ten.test", RR_TXT,
	    "v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test "
	    "a:h.test "
	    "a:h.test ?all" },
	{ "eleven.test", RR_TXT,
	    "v=spf1 a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test a:h.test "
	    "a:h.test "
	    "a:h.test a:h.test ?all" },
	{ "exp.test", RR_TXT, "v=spf1 -all exp=why.%{d}" },
	{ "why.exp.test", RR_TXT, "%{c} may not send for %{d}, says %{r}, or 100%% not" },
	{ "redexp.test", RR_TXT, "v=spf1 redirect=exp.test" },
	{ "incexp.test", RR_TXT, "v=spf1 -include:open2.test -all" },
	{ "open2.test", RR_TXT, "v=spf1 +all exp=why.exp.test" },
	{ "noexp.test", RR_TXT, "v=spf1 -all exp=nowhere.test" },
	{ "badexp.test", RR_TXT, "v=spf1 -all exp=bad.test" },
	{ "bad.test", RR_TXT, "what is %{x}" },
	{ "twoexp.test", RR_TXT, "v=spf1 -all exp=two.test" },
	{ "failexp.test", RR_TXT, "v=spf1 -all exp=fail.test" },
	{ "slowexp.test", RR_TXT, "v=spf1 -all exp=slow.test" },
	{ "void2.test", RR_TXT, "v=spf1 a:no1.test a:no2.test ?all" },
	{ "void3.test", RR_TXT, "v=spf1 a:no1.test a:no2.test a:no3.test ?all" },
};

static void put_row(struct ns_reply *r, const char *data)
{
	struct buf text = BUF_INIT(300);
	if (strcmp(data, "fail") == 0) {
		r->rcode = 2;
	} else if (strcmp(data, "drop") == 0) {
		r->drop = true;
	} else if (r->type == RR_TXT) {
		buf_add_char(&text, (char)strlen(data));
		buf_add_str(&text, data);
		put_rr(r, r->name, RR_TXT, 60, buf_span(&text));
	} else if (r->type == RR_MX) {
		put_named(r, RR_MX, 60, 10, data);
	} else if (r->type == RR_PTR) {
		put_named(r, RR_PTR, 60, -1, data);
	} else {
		put_addr(r, r->name, 60, data);
	}
	buf_end(&text);
}

static void on_question(struct ns_reply *r)
{
	bool there = false;
	for (size_t i = 0; i < COUNT_OF(zone); i++) {
		if (strcmp(zone[i].name, r->name) != 0 || zone[i].type != r->type)
			continue;
		there = true;
		put_row(r, zone[i].data);
	}
	if (!there && strcmp(r->name, "many.test") == 0 && r->type == RR_MX)
		for (int i = 0; i < 11; i++)
			put_named(r, RR_MX, 60, i, "away.test");
	else if (!there)
		r->rcode = 3;
}

static void on_spf(void *arg, const struct spf_answer *a)
{
	got = *a;
	answers++;
}

static struct ticket *ask(const char *client, const char *domain, uint64_t ms)
{
	struct spf_ask a = { .local = SPAN("joe"),
		.domain = span_str(domain),
		.helo = SPAN("h.test"),
		.receiver = SPAN("mx.here"),
		.deadline_ms = ms };
	assert_true(ip_parse(span_str(client), &a.client));
	return spf_check(loop, dns, &a, on_spf, NULL);
}

static const char *result(const char *client, const char *domain)
{
	unsigned before = answers;
	ask(client, domain, 10000);
	assert_int_equal(answers, before); /* never from inside */
	WAIT_FOR(answers == before + 1);
	return spf_result_word(got.result);
}

static void test_results(void **state)
{
	static const struct {
		const char *client, *domain, *want;
	} cases[] = {
		{ "203.0.113.1", "good.test", "pass" },
		{ "203.0.113.77", "good.test", "fail" },
		{ "2001:db8:1::5", "good.test", "pass" },
		{ "2001:db8:2::5", "good.test", "fail" },
		{ "203.0.113.1", "soft.test", "softfail" },
		{ "203.0.113.1", "neutral.test", "neutral" },
		{ "203.0.113.1", "open.test", "neutral" },
		{ "203.0.113.1", "text.test", "none" },
		{ "203.0.113.1", "nowhere.test", "none" },
		{ "203.0.113.1", "localname", "none" },
		{ "203.0.113.1", "[203.0.113.1]", "none" },
		{ "203.0.113.1", "two.test", "permerror" },
		{ "203.0.113.1", "wrong.test", "permerror" },
		{ "203.0.113.1", "fail.test", "temperror" },
		{ "198.51.100.7", "a.test", "pass" },
		{ "203.0.113.14", "a.test", "pass" },
		{ "203.0.113.16", "a.test", "fail" },
		{ "2001:db8:9::77", "six.test", "pass" },
		{ "2001:db8:8::77", "six.test", "fail" },
		{ "203.0.113.1", "six.test", "pass" },
		{ "203.0.113.1", "mx.test", "pass" },
		{ "203.0.113.2", "mx.test", "fail" },
		{ "203.0.113.1", "many.test", "permerror" },
		{ "203.0.113.1", "ptr.test", "pass" },
		{ "203.0.113.2", "ptr.test", "fail" },
		{ "203.0.113.1", "ex.test", "pass" },
		{ "203.0.113.2", "ex.test", "fail" },
		{ "203.0.113.1", "inc.test", "fail" },
		{ "203.0.113.77", "inc.test", "softfail" },
		{ "203.0.113.1", "nest.test", "neutral" },
		{ "203.0.113.77", "nest.test", "pass" },
		{ "203.0.113.1", "red.test", "pass" },
		{ "203.0.113.77", "red.test", "fail" },
		{ "203.0.113.1", "all.test", "neutral" },
		{ "203.0.113.1", "lost.test", "permerror" },
		{ "203.0.113.1", "incnone.test", "permerror" },
		{ "203.0.113.1", "incfail.test", "temperror" },
		{ "203.0.113.1", "loop.test", "permerror" },
		{ "203.0.113.1", "spin.test", "permerror" },
		{ "203.0.113.9", "ten.test", "neutral" },
		{ "203.0.113.9", "eleven.test", "permerror" },
		{ "203.0.113.9", "void2.test", "neutral" },
		{ "203.0.113.9", "void3.test", "permerror" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *word = result(cases[i].client, cases[i].domain);
		if (strcmp(word, cases[i].want) != 0)
			fail_msg("%s %s: %s (%s), not %s", cases[i].client, cases[i].domain, word,
			    got.why, cases[i].want);
	}
	result("203.0.113.77", "nest.test");
	assert_string_equal(got.why, "+all");
	result("203.0.113.1", "nest.test");
	assert_string_equal(got.why, "include:inner.test");
}

/* Section 6.2: only the words of the domain itself, or of one it redirects to; what is wrong with them is no harm. */
static void test_explanations(void **state)
{
	static const char *const silent[] = { "incexp.test", "noexp.test", "badexp.test",
		"twoexp.test", "failexp.test", "good.test" };
	assert_string_equal(result("203.0.113.77", "exp.test"), "fail");
	assert_string_equal(
	    got.explanation, "203.0.113.77 may not send for exp.test, says mx.here, or 100% not");
	assert_string_equal(got.why, "-all");
	assert_string_equal(result("2001:db8::1", "redexp.test"), "fail");
	assert_string_equal(
	    got.explanation, "2001:db8::1 may not send for exp.test, says mx.here, or 100% not");
	for (size_t i = 0; i < COUNT_OF(silent); i++) {
		assert_string_equal(result("203.0.113.77", silent[i]), "fail");
		assert_string_equal(got.explanation, "");
	}
	unsigned before = answers;
	ask("203.0.113.1", "slowexp.test", 100);
	WAIT_FOR(answers == before + 1);
	assert_int_equal(got.result, SPF_FAIL);
	assert_string_equal(got.why, "-all");
}

static void test_deadline_and_cancel(void **state)
{
	unsigned before = answers;
	uint64_t begun = clock_mono_ms();
	ask("203.0.113.1", "slow.test", 100);
	WAIT_FOR(answers == before + 1);
	assert_int_equal(got.result, SPF_TEMPERROR);
	assert_true(clock_mono_ms() - begun < 5000);
	for (int rounds = 0; rounds < 4; rounds++) {
		struct ticket *t = ask("203.0.113.77", "inc.test", 1000);
		for (int i = 0; i < rounds; i++)
			loop_step(loop, 1);
		if (answers == before + 1)
			ticket_cancel(&t);
		run_rounds(20);
		before = answers - 1;
	}
}

static int setup(void **state)
{
	loop_setup(state);
	fake_ns_begin(&ns, on_question);
	struct dns_opts o = { .servers = &ns.at, .server_count = 1, .deadline_ms = 5000 };
	dns = dns_new(loop, &o);
	return 0;
}

static int teardown(void **state)
{
	dns_free(&dns);
	fake_ns_end(&ns);
	return loop_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_explanations),
		cmocka_unit_test(test_deadline_and_cancel),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
