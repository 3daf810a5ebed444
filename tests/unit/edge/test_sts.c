/* test_sts.c - policies of MTA-STS over time: what is asked for, how often, what counts meanwhile, what is kept. */
#include "tests/unit/net/certs.h"
#include "tests/unit/net/end.h"
#include "tests/unit/net/fake_ns.h"

#include "edge/sts.h"
#include "proto/http_reply.h"

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };
static const uint64_t start_us = 1790000000ull * 1000000;

/* ---- the domains: records, and one web server for all ---- */

static struct fake_ns ns;
static struct dns *dns;
static const char *record; /* of every domain; NULL: none */
static bool twice, lame;

static void put_text(struct ns_reply *r, const char *text)
{
	char data[300];
	size_t n = (size_t)snprintf(data, sizeof data, "%c%s", (int)strlen(text), text);
	put_rr(r, r->name, RR_TXT, 1, span_of(data, n));
}

static void on_question(struct ns_reply *r)
{
	if (lame)
		r->rcode = 2;
	else if (strncmp(r->name, "mta-sts.", 8) == 0)
		put_addr(r, r->name, 1, "127.0.0.1");
	else if (r->type == RR_TXT && record != NULL && strncmp(r->name, "_mta-sts.", 9) == 0) {
		put_text(r, "v=spf1 -all");
		put_text(r, record);
		if (twice)
			put_text(r, record);
	} else
		r->rcode = 3;
}

static int door;
static struct listener *listener;
static struct ip_port at;
static struct end peers[4];
static unsigned connections;
static struct tls_ctx *server;
static const char *policy; /* NULL: the server says nothing */

static void on_accept(void *arg, const struct accepted *a)
{
	struct end *peer = &peers[connections++ % 4];
	end_end(peer);
	end_begin(peer, a->fd, 100000, 100000);
	stream_start_tls_server(peer->s, server);
	if (policy != NULL)
		stream_printf(peer->s,
		    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
		    strlen(policy), policy);
}

/* ---- the module ---- */

static struct edge_conf conf;
static struct sts *sts;
static char dir[] = "/tmp/postern-sts-XXXXXX", kept[64];
static struct cert web;

static int group_setup(void **state)
{
	certs_setup(state);
	cert_make(&web, &test_ca, "web", "DNS:mta-sts.one.example,DNS:mta-sts.two.example");
	assert_non_null(mkdtemp(dir));
	snprintf(kept, sizeof kept, "%s/mta-sts", dir);
	log_setup("test", getenv("VERBOSE") != NULL ? LOG_DEBUG : LOG_ERROR, false);
	return 0;
}

static int group_teardown(void **state)
{
	rmdir(dir);
	cert_end(&web);
	return certs_teardown(state);
}

static void begin(void)
{
	sts = sts_new(loop, dns, &conf, kept);
}

static int setup(void **state)
{
	static const struct listener_opts none;
	struct tls_pair pair = cert_pair(&web);
	clock_fake(1000000, start_us);
	loop_setup(state);
	dns = fake_ns_begin_asked(&ns, on_question);
	door = door_open(&at);
	listener = listener_new(loop, door, &none, on_accept, NULL);
	server = tls_server_new(&(struct tls_server_opts){ .pairs = &pair, .pair_count = 1 }, NULL);
	conf = (struct edge_conf){ .mta_sts_ca.bytes = buf_span(&test_ca.chain),
		.mta_sts_port = at.port,
		.mta_sts_timeout = 5000 };
	record = "v=STSv1; id=a1;";
	policy = "version: STSv1\nmode: enforce\nmx: *.one.example\nmax_age: 604800\n";
	twice = lame = false;
	connections = 0;
	begin();
	return 0;
}

static int teardown(void **state)
{
	sts_free(&sts);
	for (size_t i = 0; i < COUNT_OF(peers); i++)
		end_end(&peers[i]);
	listener_free(&listener);
	close(door);
	dns_free(&dns);
	fake_ns_end(&ns);
	tls_ctx_unref(&server);
	unlink(kept);
	return loop_teardown(state);
}

/* The clock stands still while the network is real. */
#define RUN_UNTIL(condition)                                                                       \
	do {                                                                                       \
		for (int i_ = 0; i_ < 4000 && !(condition); i_++)                                  \
			loop_step(loop, 5);                                                        \
		assert_true(condition);                                                            \
	} while (0)

static unsigned answered;
static struct sts_answer last;
static enum sts_mode mode;
static char id[STS_ID_MAX + 1], why[200];
static bool allowed;

static void on_answer(void *arg, const struct sts_answer *a)
{
	answered++;
	last = *a;
	mode = a->rules != NULL ? a->rules->policy.mode : STS_NONE;
	snprintf(id, sizeof id, "%s", a->rules != NULL ? a->rules->id : "");
	snprintf(why, sizeof why, "%s", a->why);
	allowed = a->rules != NULL && sts_allows(a->rules, "mx.one.example");
}

static void ask(const char *domain, enum sts_mode want, unsigned fetches)
{
	unsigned before = answered, were = connections;
	sts_ask(sts, domain, on_answer, NULL);
	assert_int_equal(answered, before); /* never inside the call */
	RUN_UNTIL(answered == before + 1);
	assert_int_equal(mode, want);
	assert_int_equal(connections - were, fetches);
}

static void pass(uint64_t ms)
{
	clock_fake_advance(ms);
	run_rounds(3);
}

static void test_fetched_once(void **state)
{
	ask("one.example", STS_ENFORCE, 1);
	assert_string_equal(id, "a1");
	assert_true(allowed);
	ask("ONE.example.", STS_ENFORCE, 0);
	pass(HOUR_MS);
	ask("one.example", STS_ENFORCE, 0);
	record = "v=STSv1; id=a2;";
	policy = "version: STSv1\nmode: testing\nmx: other.example\nmax_age: 604800\n";
	pass(HOUR_MS);
	ask("one.example", STS_TESTING, 1);
	assert_string_equal(id, "a2");
	assert_false(allowed);
}

static void test_no_record(void **state)
{
	record = NULL;
	ask("one.example", STS_NONE, 0);
	record = "v=STSv1; id=a-1";
	ask("two.example", STS_NONE, 0);
	pass(HOUR_MS);
	record = "v=STSv1; id=a1";
	twice = true;
	ask("one.example", STS_NONE, 0);
	ask("bad name", STS_NONE, 0);
	ask("", STS_NONE, 0);
	lame = true;
	ask("three.example", STS_NONE, 0);
}

/* Whatever becomes of the record, a policy counts until its end. */
static void test_record_goes(void **state)
{
	ask("one.example", STS_ENFORCE, 1);
	record = NULL;
	pass(HOUR_MS);
	ask("one.example", STS_ENFORCE, 0);
	lame = true;
	pass(HOUR_MS);
	ask("one.example", STS_ENFORCE, 0);
	policy = NULL;
	for (int days = 0; days < 8; days++)
		pass(DAY_MS);
	ask("one.example", STS_NONE, 0);
}

/* One attempt in five minutes for the same id; the old policy goes on. */
static void test_failures(void **state)
{
	policy = "nonsense";
	ask("one.example", STS_NONE, 1);
	assert_int_equal(last.fault, STS_POLICY_BAD);
	assert_true(why[0] != '\0');
	ask("one.example", STS_NONE, 0);
	assert_int_equal(last.fault, STS_POLICY_BAD);
	pass(299 * 1000);
	ask("one.example", STS_NONE, 0);
	policy = "version: STSv1\nmode: enforce\nmx: *.one.example\nmax_age: 604800\n";
	pass(2000);
	ask("one.example", STS_ENFORCE, 1);
	assert_int_equal(last.fault, STS_FINE);
	record = "v=STSv1; id=a2;";
	policy = "nonsense";
	pass(HOUR_MS);
	ask("one.example", STS_ENFORCE, 1);
	assert_int_equal(last.fault, STS_POLICY_BAD);
	assert_string_equal(id, "a1");
	ask("one.example", STS_ENFORCE, 0);
	ask("three.example", STS_NONE, 1);
	assert_int_equal(last.fault, STS_CERTIFICATE_BAD);
}

/* Has the client got what it wanted from each connection? */
static bool all_gone(void)
{
	for (size_t i = 0; i < COUNT_OF(peers); i++)
		if (peers[i].s != NULL && peers[i].n[STREAM_EOF] + peers[i].n[STREAM_FAILED] == 0)
			return false;
	return true;
}

/* A policy in use is fetched again within a day, without anybody asking; one that nobody uses is left to end. */
static void test_refresh(void **state)
{
	ask("one.example", STS_ENFORCE, 1);
	ask("two.example", STS_ENFORCE, 1);
	pass(HOUR_MS);
	assert_int_equal(connections, 2);
	pass(DAY_MS);
	RUN_UNTIL(connections == 4 && all_gone());
	ask("one.example", STS_ENFORCE, 0);
	pass(DAY_MS); /* two.example has not been used since then */
	RUN_UNTIL(connections == 5 && all_gone());
	for (int i = 0; i < 3; i++)
		pass(HOUR_MS);
	run_rounds(20);
	assert_int_equal(connections, 5);
}

static void test_one_flight(void **state)
{
	unsigned before = answered;
	struct ticket *gone = sts_ask(sts, "one.example", on_answer, NULL);
	for (int i = 0; i < 20; i++)
		sts_ask(sts, "one.example", on_answer, NULL);
	RUN_UNTIL(connections == 1);
	ticket_cancel(&gone);
	RUN_UNTIL(answered == before + 20);
	assert_int_equal(connections, 1);
	assert_int_equal(mode, STS_ENFORCE);
}

static void test_mode_none_and_no_age(void **state)
{
	policy = "version: STSv1\nmode: none\nmax_age: 604800\n";
	ask("one.example", STS_NONE, 1);
	assert_int_equal(last.fault, STS_FINE);
	ask("one.example", STS_NONE, 0);
	policy = "version: STSv1\nmode: enforce\nmx: a\nmax_age: 0\n";
	ask("two.example", STS_NONE, 1); /* gone as it comes */
	ask("two.example", STS_NONE, 0); /* and not fetched for each message */
}

static void test_kept(void **state)
{
	ask("one.example", STS_ENFORCE, 1);
	policy = "version: STSv1\nmode: none\nmax_age: 3600\n";
	ask("two.example", STS_NONE, 1);
	sts_free(&sts);
	begin();
	ask("one.example", STS_ENFORCE, 0);
	assert_true(allowed);
	ask("two.example", STS_NONE, 0);
	sts_free(&sts);
	pass(2 * HOUR_MS);
	begin();
	policy = NULL;
	record = NULL;
	ask("one.example", STS_ENFORCE, 0);
	sts_free(&sts);
	pass(8ull * DAY_MS);
	begin();
	ask("one.example", STS_NONE, 0);
}

static void test_file(void **state)
{
	static const char *const bad[] = { "", "a", "a b c", "a b 1 enforce 1", "a b 1 enforce 1 ",
		"a b 1 enforce 1 x..y", "a b -1 enforce 1 x", "a b 1 force 1 x",
		"a b- 1 enforce 1 x", "*.a b 1 enforce 1 x", "a b 1 enforce 99999999999 x",
		"a/b b 1 enforce 1 x", "a b 99999999999 enforce 1 x" };
	static const char good[] = "a.example b2 17 testing 20 x.example *.y.example";
	struct buf text = BUF_INIT(100000);
	struct sts_kept k;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		buf_printf(&text, "%s\n", bad[i]);
	buf_printf(&text, "%s\nz z 1 none 1\n", good);
	buf_add_str(&text, "cut c 1 none 1");
	struct span rest = buf_span(&text);
	assert_true(sts_kept_take(&rest, &k));
	assert_true(span_eq_str(k.domain, "a.example") && span_eq_str(k.id, "b2"));
	assert_int_equal(k.fetched_us, 17000000);
	assert_int_equal(k.policy.mode, STS_TESTING);
	assert_int_equal(k.policy.mx_n, 2);
	assert_true(sts_kept_take(&rest, &k));
	assert_true(span_eq_str(k.domain, "z"));
	assert_false(sts_kept_take(&rest, &k));
	for (size_t n = 0; n <= sizeof good; n++) {
		rest = span_first(SPAN("a.example b2 17 testing 20 x.example *.y.example\n"), n);
		char *part = mem_copy(rest.p, n);
		rest.p = part;
		assert_int_equal(sts_kept_take(&rest, &k), n == sizeof good);
		mem_free(part);
	}
	buf_end(&text);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_fetched_once),
		CASE(test_no_record),
		CASE(test_record_goes),
		CASE(test_failures),
		CASE(test_refresh),
		CASE(test_one_flight),
		CASE(test_mode_none_and_no_age),
		CASE(test_kept),
		CASE(test_file),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
