/* test_tls_policy.c - which block next_hop is meant, and TLSA records as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_copies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
