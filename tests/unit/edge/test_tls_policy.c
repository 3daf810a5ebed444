/* test_tls_policy.c - which block next_hop is meant, TLSA records as bytes, and what the DNS says of a host. */
#include "tests/unit/net/asked_ns.h"

#include "base/mem.h"
#include "edge/tls_policy.h"

static void test_domains(void **state)
{
	struct edge_next_hop_conf blocks[] = {
		{ .head.title = "example.org", .tls = OUT_TLS_MUST },
		{ .head.title = ".example.org", .tls = OUT_TLS_DANE },
		{ .head.title = ".org", .tls = OUT_TLS_NONE },
	};
	struct edge_next_hop_conf *list[] = { &blocks[0], &blocks[1], &blocks[2] };
	struct edge_conf c = { .next_hop = list, .next_hop_n = 3, .smtp_tls = OUT_TLS_MAY };
	assert_int_equal(tls_policy_of(&c, "Example.ORG"), OUT_TLS_MUST);
	assert_int_equal(tls_policy_of(&c, "a.example.org"), OUT_TLS_DANE);
	assert_int_equal(tls_policy_of(&c, "a.b.example.org"), OUT_TLS_DANE);
	assert_int_equal(tls_policy_of(&c, "badexample.org"), OUT_TLS_NONE);
	assert_int_equal(tls_policy_of(&c, ".example.org"), OUT_TLS_NONE);
	assert_int_equal(tls_policy_of(&c, "org"), OUT_TLS_MAY);
	assert_int_equal(tls_policy_of(&c, "example.com"), OUT_TLS_MAY);
	assert_int_equal(tls_policy_of(&c, ""), OUT_TLS_MAY);
}

/* Whatever is cut off or too long ends the list; nothing outside is read. */
static void test_records(void **state)
{
	static const char bytes[] = "\0\4\3\1\1x"
				    "\0\3\2\0\0"
				    "\0\6\3\0\2abc";
	struct tls_dane_record v[DNS_TEXTS_MAX];
	struct span all = span_of(bytes, sizeof bytes - 1);
	assert_int_equal(tls_policy_records(all, v), 3);
	assert_int_equal(v[0].usage, 3);
	assert_int_equal(v[1].data.n, 0);
	assert_int_equal(v[2].matching, 2);
	assert_true(span_eq_str(v[2].data, "abc"));
	for (size_t n = 0; n < all.n; n++) {
		char *part = mem_copy(bytes, n);
		size_t want = n >= 11 ? 2 : n >= 6 ? 1 : 0;
		assert_int_equal(tls_policy_records(span_of(part, n), v), want);
		mem_free(part);
	}
	struct buf many = BUF_INIT(1000);
	for (int i = 0; i < 2 * DNS_TEXTS_MAX; i++)
		buf_add(&many, bytes, 6);
	assert_int_equal(tls_policy_records(buf_span(&many), v), DNS_TEXTS_MAX);
	buf_end(&many);
}

static void test_copies(void **state)
{
	char domain[] = "example.org";
	struct out_dane d = { domain, "host.example", SPAN("abc") }, copy = out_dane_copy(&d);
	domain[0] = 'x';
	assert_string_equal(copy.domain, "example.org");
	assert_string_equal(copy.base, "host.example");
	assert_true(span_eq_str(copy.tlsa, "abc"));
	out_dane_end(&copy);
	assert_null(copy.domain);
	copy = out_dane_copy(&(struct out_dane){ 0 });
	assert_null(copy.domain);
	out_dane_end(&copy);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static unsigned answers;
static enum tls_policy_answer got;

/* What is said of the addresses of a host: 4 and 6 for each kind that is there, f for one that fails, u for one that is
 * not signed. Its TLSA records are always there, and signed. */
static void on_question(struct ns_reply *r)
{
	struct span name = span_str(r->name), kinds = span_cut(&name, '.');
	bool v6 = r->type == RR_AAAA;
	r->secure = r->asked;
	if (r->type == RR_TLSA) {
		put_rr(r, r->name, RR_TLSA, 60,
		    SPAN("\3\1\1"
			 "0123456789abcdef0123456789abcdef"));
		return;
	}
	assert_int_equal(kinds.n, 2);
	char kind = kinds.p[v6 ? 1 : 0];
	r->secure = r->secure && kind != 'u';
	if (kind == 'f')
		r->rcode = 2;
	else if (kind != '0')
		put_addr(r, r->name, 60, v6 ? "2001:db8::1" : "192.0.2.1");
}

static void on_policy(void *arg, enum tls_policy_answer answer, const struct out_dane *dane)
{
	got = answer;
	answers++;
}

/* Nobody gets rid of TLSA records by keeping some of the addresses from us (RFC 7672 sections 2.1.3, 2.2.2). */
static void test_addresses_that_fail(void **state)
{
	static const struct {
		const char *host;
		enum tls_policy_answer answer;
	} cases[] = {
		{ "40.test", TLS_POLICY_DANE },
		{ "06.test", TLS_POLICY_DANE },
		{ "46.test", TLS_POLICY_DANE },
		{ "4f.test", TLS_POLICY_DANE },
		{ "f6.test", TLS_POLICY_DANE },
		{ "ff.test", TLS_POLICY_FAILED },
		{ "f0.test", TLS_POLICY_FAILED },
		{ "uf.test", TLS_POLICY_NONE },
		{ "4u.test", TLS_POLICY_NONE },
		{ "00.test", TLS_POLICY_NONE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		answers = 0;
		assert_non_null(tls_policy_ask(dns, cases[i].host, 25, on_policy, NULL));
		WAIT_FOR(answers == 1);
		if (got != cases[i].answer)
			fail_msg("%s: %d", cases[i].host, (int)got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_copies),
		cmocka_unit_test_setup_teardown(test_addresses_that_fail, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
