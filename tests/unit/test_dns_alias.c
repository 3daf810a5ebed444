/* test_dns_alias.c - names that stand for others: whose addresses they are, and how sure that is; the socket they
 * are asked from. */
#include "net/asked_ns.h"

#include "net/dns.h"

static void on_question(struct ns_reply *r)
{
	bool is_address = r->type == RR_A || r->type == RR_AAAA;
	r->secure = r->asked && strcmp(r->name, "unsigned.test") != 0;
	if (strcmp(r->name, "alias.test") == 0 || strcmp(r->name, "unsigned.test") == 0) {
		put_named(r, RR_CNAME, 60, -1, is_address ? "way.test" : "Way.Test");
		if (is_address) {
			put_rr(r, "way.test", RR_CNAME, 60, SPAN("\1a\4test\0"));
			put_addr(r, "A.test", 60, "192.0.2.1");
		}
	} else if (strcmp(r->name, "a.test") == 0) {
		put_addr(r, r->name, 60, "192.0.2.1");
	} else if (strcmp(r->name, "fail.test") == 0) {
		r->rcode = 2;
	} else {
		r->rcode = 3;
	}
}

static unsigned answered;
static struct dns_alias alias;
static struct dns_addrs addrs;

static void on_alias(void *arg, const struct dns_alias *r)
{
	alias = *r;
	answered++;
}

static void on_addrs(void *arg, const struct dns_addrs *r)
{
	addrs = *r;
	answered++;
}

static void test_aliases(void **state)
{
	static const struct {
		const char *name;
		enum dns_status status;
		const char *stands_for;
		bool secure;
	} cases[] = {
		{ "alias.test", DNS_FOUND, "way.test", true },
		{ "unsigned.test", DNS_FOUND, "way.test", false },
		{ "a.test", DNS_ABSENT, "", true },
		{ "gone.test", DNS_ABSENT, "", true },
		{ "fail.test", DNS_FAILED, "", false },
		{ "not a name", DNS_ABSENT, "", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		answered = 0;
		dns_cname(dns, span_str(cases[i].name), on_alias, NULL);
		assert_int_equal(answered, 0);
		WAIT_FOR(answered == 1);
		assert_int_equal(alias.status, cases[i].status);
		assert_string_equal(alias.name, cases[i].stands_for);
		assert_int_equal(alias.secure, cases[i].secure);
	}
}

static void ask_addr(const char *name)
{
	answered = 0;
	dns_addr(dns, span_str(name), on_addrs, NULL);
	WAIT_FOR(answered == 1);
}

static void test_addresses(void **state)
{
	static const char *const cases[][2] = { { "alias.test", "a.test" }, { "a.test", "" },
		{ "A.TEST", "" }, { "gone.test", "" }, { "localhost", "" } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		ask_addr(cases[i][0]);
		assert_string_equal(addrs.alias, cases[i][1]);
	}
}

/* A server on this host is asked from one socket, as long as that one works. */
static void test_socket_stays(void **state)
{
	ask_addr("a.test");
	unsigned port = ns.from_port;
	ask_addr("gone.test");
	assert_int_equal(ns.from_port, port);
	fake_ns_go_deaf(&ns);
	ask_addr("alias.test");
	assert_int_equal(addrs.status, DNS_FAILED);
	fake_ns_hear(&ns);
	ask_addr("alias.test");
	assert_int_equal(addrs.status, DNS_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_aliases, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_stays, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
