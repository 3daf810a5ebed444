/* test_dns.c - the resolver against a scripted name server: answers, failures, cache, cancelling. */
#include "net/fake_ns.h"

#include "net/dns_internal.h"

static struct fake_ns ns, second_ns;
static struct dns *dns;

/* ---- the zone ---- */

static void put_garbage(struct ns_reply *r)
{
	/* One answer whose name is a pointer to itself. */
	static const char looped[] =
	    "\x81\x80\0\1\0\1\0\0\0\0\4loop\4test\0\0\1\0\1\xc0\x1b\0\1\0\1\0\0\0\1\0\4abcd";
	if (strcmp(r->name, "pointer.test") == 0)
		buf_add(&r->raw, looped, sizeof looped - 1);
	else /* an answer is announced that is not there */
		r->answers = 3;
}

static void put_mx_txt_ptr(struct ns_reply *r)
{
	r->secure = r->asked && span_starts(span_str(r->name), SPAN("_25"));
	if (strcmp(r->name, "mx.test") == 0) {
		put_named(r, RR_MX, 60, 20, "late.test");
		put_named(r, RR_MX, 60, 10, "First.Test");
		put_named(r, RR_MX, 60, 10, "second.test");
		put_named(r, RR_MX, 60, 5, "not a host/");
	} else if (strcmp(r->name, "nullmx.test") == 0) {
		put_named(r, RR_MX, 60, 0, "");
	} else if (strcmp(r->name, "manymx.test") == 0) {
		for (int i = 40; i > 0; i--)
			put_named(r, RR_MX, 60, i, "a.test");
	} else if (strcmp(r->name, "txt.test") == 0) {
		put_rr(r, r->name, RR_TXT, 60, SPAN("\3one\4 two"));
		put_rr(r, r->name, RR_TXT, 60, SPAN("\0"));
		put_rr(r, r->name, RR_TXT, 60, SPAN("\5cut")); /* longer than it is */
	} else if (strcmp(r->name, "_25._tcp.secure.test") == 0) {
		put_rr(r, r->name, RR_TLSA, 60,
		    SPAN("\3\1\1"
			 "0123456789abcdef0123456789abcdef"));
		put_rr(r, r->name, RR_TLSA, 60, SPAN("\3\1\1")); /* no data: passed over */
		put_rr(r, r->name, RR_TLSA, 60,
		    SPAN("\2\0\0"
			 "x"));
	} else if (strcmp(r->name, "1.2.0.192.in-addr.arpa") == 0) {
		put_named(r, RR_PTR, 60, -1, "liar.test");
		put_named(r, RR_PTR, 60, -1, "A.Test");
	} else if (strcmp(r->name, "9.2.0.192.in-addr.arpa") == 0) {
		put_named(r, RR_PTR, 60, -1, "a.test");
	} else if (strcmp(r->name, "7.2.0.192.in-addr.arpa") == 0) {
		r->drop = true;
	} else if (strcmp(r->name, "8.2.0.192.in-addr.arpa") == 0) {
		put_named(r, RR_PTR, 60, -1, "fail.test");
	} else {
		r->rcode = 3;
	}
}

static void put_many(struct ns_reply *r)
{
	char text[32];
	r->truncated = !r->tcp;
	for (int i = 1; r->tcp && i <= 40; i++) {
		snprintf(text, sizeof text, "192.0.2.%d", i);
		put_addr(r, r->name, 60, text);
	}
}

static void on_question(struct ns_reply *r)
{
	if (r->type != RR_A && r->type != RR_AAAA) {
		put_mx_txt_ptr(r);
	} else if (strcmp(r->name, "a.test") == 0) {
		put_addr(r, r->name, 100, "192.0.2.1");
		put_addr(r, r->name, 50, "192.0.2.2");
		put_addr(r, r->name, 100, "2001:db8::1");
	} else if (strcmp(r->name, "v4.test") == 0) {
		put_addr(r, r->name, 100, "192.0.2.4");
		put_soa(r, 30, 60);
	} else if (strcmp(r->name, "alias.test") == 0) {
		put_named(r, RR_CNAME, 7, -1, "a.test");
		put_addr(r, "a.test", 100, "192.0.2.1");
	} else if (strcmp(r->name, "loop.test") == 0) {
		put_named(r, RR_CNAME, 60, -1, "loop2.test");
		put_rr(r, "loop2.test", RR_CNAME, 60, SPAN("\4loop\4test\0"));
	} else if (strcmp(r->name, "fail.test") == 0) {
		r->rcode = 2;
	} else if (strcmp(r->name, "refused.test") == 0) {
		r->rcode = 5;
	} else if (strcmp(r->name, "half.test") == 0 && r->type == RR_A) {
		put_addr(r, r->name, 100, "192.0.2.6");
	} else if (strcmp(r->name, "silent.test") == 0 || strcmp(r->name, "half.test") == 0) {
		r->drop = true;
	} else if (strcmp(r->name, "zero.test") == 0) {
		put_addr(r, r->name, 0, "192.0.2.5");
	} else if (strcmp(r->name, "big.test") == 0) {
		put_many(r);
	} else if (strcmp(r->name, "pointer.test") == 0 || strcmp(r->name, "garbage.test") == 0) {
		put_garbage(r);
	} else {
		r->rcode = 3;
		put_soa(r, 3600, 60);
	}
}

/* ---- asking ---- */

static struct dns_addrs addrs;
static struct dns_name named;
static struct dns_mx mx;
static struct dns_texts texts;
static char text0[64], text1[64];
static unsigned answered;

static void on_addrs(void *arg, const struct dns_addrs *r)
{
	answered++;
	addrs = *r;
}

static void on_name(void *arg, const struct dns_name *r)
{
	answered++;
	named = *r;
}

static void on_mx(void *arg, const struct dns_mx *r)
{
	answered++;
	mx = *r;
}

static void on_texts(void *arg, const struct dns_texts *r)
{
	answered++;
	texts = *r;
	if (r->n > 0)
		snprintf(text0, sizeof text0, "%.*s", SPAN_ARG(r->v[0]));
	if (r->n > 1)
		snprintf(text1, sizeof text1, "%.*s", SPAN_ARG(r->v[1]));
}

static void begin(uint64_t deadline_ms, bool two)
{
	struct ip_port servers[2] = { ns.at, second_ns.at };
	struct dns_opts o = {
		.servers = servers, .server_count = two ? 2 : 1, .deadline_ms = deadline_ms
	};
	dns_free(&dns);
	dns = dns_new(loop, &o);
	answered = 0;
}

static int setup(void **state)
{
	loop_setup(state);
	fake_ns_begin(&ns, on_question);
	fake_ns_begin(&second_ns, on_question);
	begin(2000, false);
	return 0;
}

static int teardown(void **state)
{
	dns_free(&dns);
	fake_ns_end(&ns);
	fake_ns_end(&second_ns);
	return loop_teardown(state);
}

static void ask_addr(const char *name)
{
	unsigned before = answered;
	assert_non_null(dns_addr(dns, span_str(name), on_addrs, NULL));
	assert_int_equal(answered, before); /* never inside the call */
	WAIT_FOR(answered > before);
	run_rounds(3);
	assert_int_equal(answered, before + 1);
}

static bool has_addr(size_t i, const char *text)
{
	struct ip_addr a;
	return ip_parse(span_str(text), &a) && i < addrs.n && ip_eq(addrs.v[i], a);
}

/* ---- addresses ---- */

static void test_found(void **state)
{
	ask_addr("A.Test.");
	assert_int_equal(addrs.status, DNS_FOUND);
	assert_int_equal(addrs.n, 3);
	assert_true(
	    has_addr(0, "2001:db8::1") && has_addr(1, "192.0.2.1") && has_addr(2, "192.0.2.2"));
	assert_int_equal(addrs.ttl_s, 50);
	assert_int_equal(ns.udp_n, 2);
	ask_addr("v4.test");
	assert_true(addrs.n == 1 && has_addr(0, "192.0.2.4"));
	assert_string_equal(addrs.alias, "");
	ask_addr("alias.test");
	assert_true(addrs.n == 1 && has_addr(0, "192.0.2.1"));
	assert_string_equal(addrs.alias, "a.test");
	assert_int_equal(addrs.ttl_s, 7);
	answered = 0;
	dns_a(dns, SPAN("a.test"), on_addrs, NULL);
	WAIT_FOR(answered == 1);
	assert_true(addrs.n == 2 && has_addr(0, "192.0.2.1"));
}

static void test_absent(void **state)
{
	static const char *const never[] = { "", ".", "..", "a..b", "sp ace.test", "sl/ash.test",
		"-\xff-", "a.b.." };
	char longest[300];
	ask_addr("gone.test");
	assert_int_equal(addrs.status, DNS_ABSENT);
	assert_int_equal(addrs.ttl_s, 60);
	ask_addr("loop.test");
	assert_int_equal(addrs.status, DNS_ABSENT);
	unsigned before = ns.udp_n;
	for (size_t i = 0; i < COUNT_OF(never); i++) {
		ask_addr(never[i]);
		assert_int_equal(addrs.status, DNS_ABSENT);
	}
	for (size_t i = 0; i < sizeof longest; i++)
		longest[i] = i % 8 == 7 ? '.' : 'x';
	longest[299] = '\0';
	ask_addr(longest);
	assert_int_equal(addrs.status, DNS_ABSENT);
	memset(longest, 'x', 64);
	longest[64] = '\0';
	ask_addr(longest);
	assert_int_equal(addrs.status, DNS_ABSENT);
	assert_int_equal(ns.udp_n, before); /* nothing of these is sent */
}

static void test_without_question(void **state)
{
	ask_addr("localhost");
	assert_true(addrs.n == 2 && has_addr(0, "::1") && has_addr(1, "127.0.0.1"));
	ask_addr("x.LOCALHOST.");
	assert_int_equal(addrs.n, 2);
	ask_addr("192.0.2.77");
	assert_true(addrs.n == 1 && has_addr(0, "192.0.2.77"));
	ask_addr("2001:db8::77");
	assert_true(addrs.n == 1 && has_addr(0, "2001:db8::77"));
	answered = 0;
	dns_a(dns, SPAN("2001:db8::77"), on_addrs, NULL);
	WAIT_FOR(answered == 1);
	assert_int_equal(addrs.status, DNS_ABSENT);
	assert_int_equal(ns.udp_n, 0);
}

static void test_failures(void **state)
{
	static const char *const names[] = { "fail.test", "refused.test", "garbage.test",
		"pointer.test" };
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		ask_addr(names[i]);
		assert_int_equal(addrs.status, DNS_FAILED);
		assert_int_equal(addrs.n, 0);
	}
	unsigned before = ns.udp_n;
	ask_addr("fail.test"); /* a failure is not remembered */
	assert_true(ns.udp_n > before);
}

static void test_truncated(void **state)
{
	ask_addr("big.test");
	assert_int_equal(addrs.status, DNS_FOUND);
	assert_int_equal(addrs.n, DNS_ADDRS_MAX);
	assert_true(ns.tcp_n >= 1);
}

static void test_deadline(void **state)
{
	uint64_t from = clock_mono_ms();
	begin(200, false);
	ask_addr("silent.test");
	assert_int_equal(addrs.status, DNS_FAILED);
	assert_true(clock_mono_ms() - from >= 200);
	assert_true(clock_mono_ms() - from < 5000);
	assert_true(ns.udp_n >= 4); /* it was tried more than once */
	ask_addr("half.test");      /* what has come by then is the answer */
	assert_int_equal(addrs.status, DNS_FOUND);
	assert_true(has_addr(0, "192.0.2.6"));
}

/* ---- more than one server ---- */

static void on_broken_server(struct ns_reply *r)
{
	r->rcode = 2;
}

static void on_silent_server(struct ns_reply *r)
{
	r->drop = true;
}

static void test_next_server(void **state)
{
	static ns_fn *const first[] = { on_broken_server, on_silent_server };
	for (size_t i = 0; i < COUNT_OF(first); i++) {
		begin(2000, true);
		ns.fn = first[i];
		ask_addr("a.test");
		assert_int_equal(addrs.status, DNS_FOUND);
		assert_int_equal(addrs.n, 3);
	}
}

/* ---- MX, TXT, reverse ---- */

static void ask_mx(const char *name)
{
	answered = 0;
	assert_non_null(dns_mx(dns, span_str(name), on_mx, NULL));
	assert_int_equal(answered, 0);
	WAIT_FOR(answered == 1);
}

static void test_mx(void **state)
{
	ask_mx("mx.test");
	assert_int_equal(mx.status, DNS_FOUND);
	assert_int_equal(mx.n, 3);
	assert_string_equal(mx.v[0].host, "first.test");
	assert_string_equal(mx.v[1].host, "second.test");
	assert_string_equal(mx.v[2].host, "late.test");
	assert_int_equal(mx.v[2].preference, 20);
	ask_mx("nullmx.test");
	assert_int_equal(mx.status, DNS_FOUND);
	assert_int_equal(mx.n, 0);
	ask_mx("manymx.test");
	assert_int_equal(mx.n, DNS_MX_MAX);
	ask_mx("gone.test");
	assert_int_equal(mx.status, DNS_ABSENT);
	ask_mx("no/name");
	assert_int_equal(mx.status, DNS_ABSENT);
}

static struct dns_tlsa tlsa;

static void on_tlsa(void *arg, const struct dns_tlsa *r)
{
	tlsa = *r;
	answered++;
	if (r->n > 0) {
		assert_int_equal(r->v[0].usage, 3);
		assert_int_equal(r->v[0].selector, 1);
		assert_int_equal(r->v[0].matching, 1);
		assert_true(span_eq_str(r->v[0].data, "0123456789abcdef0123456789abcdef"));
	}
}

static void ask_tlsa(const char *name)
{
	unsigned before = answered;
	assert_non_null(dns_tlsa(dns, span_str(name), on_tlsa, NULL));
	WAIT_FOR(answered == before + 1);
}

/* The server is asked whether it has validated, and believed, being on this host. */
static void test_tlsa(void **state)
{
	ask_tlsa("_25._tcp.secure.test");
	assert_int_equal(tlsa.status, DNS_FOUND);
	assert_true(tlsa.secure);
	assert_int_equal(tlsa.n, 2);
	ask_tlsa("_25._tcp.gone.test");
	assert_int_equal(tlsa.status, DNS_ABSENT);
	assert_true(tlsa.secure);
	ask_tlsa("_465._tcp.gone.test");
	assert_false(tlsa.secure);
	ask_mx("mx.test");
	assert_false(mx.secure);
	struct dns_opts far = { .server_count = 1, .deadline_ms = 1000 };
	struct ip_port server = { .port = 53 };
	assert_true(ip_parse(SPAN("192.0.2.1"), &server.addr));
	far.servers = &server;
	struct dns *elsewhere = dns_new(loop, &far);
	assert_false(dns_trusts(elsewhere));
	assert_true(dns_trusts(dns));
	dns_free(&elsewhere);
}

static void test_texts(void **state)
{
	dns_txt(dns, SPAN("txt.test"), on_texts, NULL);
	assert_int_equal(answered, 0);
	WAIT_FOR(answered == 1);
	assert_int_equal(texts.status, DNS_FOUND);
	assert_int_equal(texts.n, 3);
	assert_string_equal(text0, "one two");
	assert_string_equal(text1, "");
}

static void ask_reverse(const char *text)
{
	struct ip_addr a;
	assert_true(ip_parse(span_str(text), &a));
	answered = 0;
	assert_non_null(dns_reverse(dns, a, on_name, NULL));
	assert_int_equal(answered, 0);
	WAIT_FOR(answered == 1);
}

static void test_reverse(void **state)
{
	ask_reverse("192.0.2.1");
	assert_int_equal(named.status, DNS_FOUND);
	assert_string_equal(named.name, "a.test");
	ask_reverse("192.0.2.9"); /* the name does not confirm it */
	assert_int_equal(named.status, DNS_ABSENT);
	ask_reverse("192.0.2.8"); /* whether it does cannot be known */
	assert_int_equal(named.status, DNS_FAILED);
	ask_reverse("192.0.2.10");
	assert_int_equal(named.status, DNS_ABSENT);
	ask_reverse("2001:db8::1");
	assert_int_equal(named.status, DNS_ABSENT);
	begin(150, false);
	ask_reverse("192.0.2.7"); /* no answer in time */
	assert_int_equal(named.status, DNS_FAILED);
}

/* ---- cache and single flight ---- */

static void test_cache(void **state)
{
	ask_addr("a.test");
	ask_addr("gone.test");
	ask_addr("zero.test");
	unsigned sent = ns.udp_n;
	ask_addr("a.test");
	ask_addr("gone.test");
	assert_int_equal(ns.udp_n, sent);
	ask_addr("zero.test"); /* lives no time; its absent AAAA does */
	assert_int_equal(ns.udp_n, sent + 1);
	clock_fake(clock_mono_ms() + 49000, 0);
	run_rounds(1);
	ask_addr("a.test");
	assert_int_equal(ns.udp_n, sent + 1);
	assert_true(addrs.ttl_s <= 1);
	clock_fake_advance(1000);
	run_rounds(1);
	ask_addr("a.test");
	assert_int_equal(ns.udp_n, sent + 2); /* AAAA lives longer */
	clock_fake_advance(11000);
	run_rounds(1);
	ask_addr("gone.test");
	assert_int_equal(ns.udp_n, sent + 4);
}

static void test_cache_is_bounded(void **state)
{
	char name[64];
	for (unsigned i = 0; i < 5000; i += 100) {
		answered = 0;
		for (unsigned k = 0; k < 100; k++) {
			snprintf(name, sizeof name, "n%u.gone.test", i + k);
			dns_a(dns, span_str(name), on_addrs, NULL);
		}
		WAIT_FOR(answered == 100);
	}
	assert_int_equal(ns.udp_n, 5000);
	snprintf(name, sizeof name, "n%u.gone.test", 4999);
	answered = 0;
	dns_a(dns, span_str(name), on_addrs, NULL);
	WAIT_FOR(answered == 1);
	assert_int_equal(ns.udp_n, 5000); /* the newest is kept */
	dns_a(dns, SPAN("n0.gone.test"), on_addrs, NULL);
	WAIT_FOR(answered == 2);
	assert_int_equal(ns.udp_n, 5001); /* the oldest is not */
}

static void test_single_flight(void **state)
{
	for (int i = 0; i < 50; i++)
		dns_addr(dns, SPAN("a.test"), on_addrs, NULL);
	WAIT_FOR(answered == 50);
	assert_int_equal(ns.udp_n, 2);
	assert_int_equal(addrs.n, 3);
}

/* ---- cancelling ---- */

static void test_cancel(void **state)
{
	for (unsigned rounds = 0; rounds < 6; rounds++) {
		answered = 0;
		struct ticket *t = dns_addr(dns, SPAN("zero.test"), on_addrs, NULL);
		dns_addr(dns, SPAN("zero.test"), on_addrs, NULL);
		run_rounds(rounds);
		unsigned want = answered > 0 ? 2 : 1; /* the other one's question goes on */
		if (answered == 0)
			ticket_cancel(&t);
		WAIT_FOR(answered == want);
		run_rounds(5);
		assert_int_equal(answered, want);
	}
	answered = 0;
	struct ticket *r = dns_reverse(
	    dns, (struct ip_addr){ { [10] = 0xff, [11] = 0xff, [12] = 192 } }, on_name, NULL);
	run_rounds(1);
	ticket_cancel(&r);
	ticket_cancel(&r);
	run_rounds(20);
	assert_int_equal(answered, 0);
}

static struct ticket *victim;

static void on_cancel_other(void *arg, const struct dns_addrs *r)
{
	answered++;
	ticket_cancel(&victim);
}

/* Both wait for one question: the first one's answer cancels the second. */
static void test_cancel_in_callback(void **state)
{
	dns_addr(dns, SPAN("a.test"), on_cancel_other, NULL);
	victim = dns_addr(dns, SPAN("a.test"), on_cancel_other, NULL);
	WAIT_FOR(answered > 0);
	run_rounds(10);
	assert_int_equal(answered, 1);
}

static void on_free(void *arg, const struct dns_addrs *r)
{
	answered++;
	dns_free(&dns);
}

/* The resolver goes in an answer, with the same and other questions outstanding. */
static void test_free_in_callback(void **state)
{
	dns_addr(dns, SPAN("a.test"), on_free, NULL);
	dns_addr(dns, SPAN("a.test"), on_free, NULL);
	dns_addr(dns, SPAN("silent.test"), on_free, NULL);
	dns_mx(dns, SPAN("mx.test"), on_mx, NULL);
	WAIT_FOR(dns == NULL);
	run_rounds(20);
	assert_true(answered <= 2); /* the MX answer may have been first */
}

static void test_free_outstanding(void **state)
{
	dns_addr(dns, SPAN("a.test"), on_addrs, NULL);
	ask_reverse("192.0.2.1");
	dns_addr(dns, SPAN("silent.test"), on_addrs, NULL);
	dns_addr(dns, SPAN("localhost"), on_addrs, NULL);
	answered = 0;
	dns_free(&dns);
	dns_free(&dns);
	run_rounds(10);
	assert_int_equal(answered, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_found),
		CASE(test_absent),
		CASE(test_without_question),
		CASE(test_failures),
		CASE(test_truncated),
		CASE(test_deadline),
		CASE(test_next_server),
		CASE(test_mx),
		CASE(test_tlsa),
		CASE(test_texts),
		CASE(test_reverse),
		CASE(test_cache),
		CASE(test_cache_is_bounded),
		CASE(test_single_flight),
		CASE(test_cancel),
		CASE(test_cancel_in_callback),
		CASE(test_free_in_callback),
		CASE(test_free_outstanding),
	};
	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
