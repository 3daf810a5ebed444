/* test_session_dns.c - what the DNS says of a client and a sender, in conversations: a scripted name server
 * stands behind the edge. */
#include "tests/unit/net/fake_ns.h"

#define BENCH_EDGE                                                                                 \
	"	dnsbl bl.test { weight 3; codes 127.0.0.2, 127.0.0.4-7; }\n"                             \
	"	dnsbl some.test { weight 2; }\n"                                                         \
	"	dnsbl wl.test { weight -4; codes 127.0.*.1-3; }\n"                                       \
	"	dnsbl err.test { weight 9; }\n"                                                          \
	"	dnsbl late.test { weight 9; self_test no; }\n"                                           \
	"	dnsbl all.test { weight 9; }\n"                                                          \
	"	dnsbl none.test { weight 9; }\n"                                                         \
	"	dnsbl parked.test { weight 9; }\n"                                                       \
	"	dnsbl dead.test { weight 9; }\n"                                                         \
	"	spf enforce;\n"                                                                          \
	"	dnsbl_threshold 3; dnsbl_timeout 1s; dnsbl_check_interval 10m;\n"                        \
	"	listener auth { address 127.0.0.1:28; role mx; tls none; auth yes;\n"                    \
	"		allow_plaintext_auth yes; }\n"                                                          \
	"	listener named { address 127.0.0.1:29; role mx; tls none; }\n"                           \
	"	access named { listener named; client_name .host.test, client.test; action "             \
	"refuse;\n"                                                                                \
	"		text \"by name\"; }\n"                                                                  \
	"	access nameless { listener named; client_name unknown; action defer; }\n"
#include "tests/unit/edge/session_bench.h"

#include "edge/edge_tables.h"

static struct fake_ns ns;
static unsigned name_asked; /* for the addresses of client.test */
static bool list_errs;      /* late.test answers with an error code */

static bool ends(const char *name, const char *zone)
{
	return span_iends(span_str(name), span_str(zone));
}

/* Is the question about this client (reversed) in this zone? */
static bool asks(const struct ns_reply *r, const char *client, const char *zone)
{
	char name[128];
	snprintf(name, sizeof name, "%s.%s", client, zone);
	return strcmp(r->name, name) == 0;
}

static const char *list_code(const struct ns_reply *r)
{
	static const struct {
		const char *client, *zone, *code;
	} listed[] = {
		{ "2.0.0.127", "bl.test", "127.0.0.2" },
		{ "2.0.0.127", "some.test", "127.0.0.2" },
		{ "2.0.0.127", "wl.test", "127.0.10.0" },
		{ "2.0.0.127", "dead.test", "127.0.0.2" },
		{ "10.113.0.203", "bl.test", "127.0.0.2" },
		{ "11.113.0.203", "bl.test", "127.0.0.5" },
		{ "11.113.0.203", "wl.test", "127.0.9.3" },
		{ "12.113.0.203", "bl.test", "127.0.0.10" }, /* none of the codes */
		{ "13.113.0.203", "some.test", "127.0.0.9" },
		{ "14.113.0.203", "bl.test", "127.255.255.254" },
		{ "15.113.0.203", "bl.test", "127.0.0.2" },
		{ "16.113.0.203", "bl.test", "127.0.0.2" },
		{ "17.113.0.203", "bl.test", "127.0.0.2" },
		{ "18.113.0.203", "bl.test", "127.0.0.2" },
		{ "30.113.0.203", "bl.test", "127.0.0.2" },
		{ "31.113.0.203", "bl.test", "127.0.0.2" },
		{ "32.113.0.203", "bl.test", "127.0.0.2" },
	};
	for (size_t i = 0; i < COUNT_OF(listed); i++)
		if (asks(r, listed[i].client, listed[i].zone))
			return listed[i].code;
	if (ends(r->name, ".err.test"))
		return "127.255.255.254";
	if (ends(r->name, ".late.test") && list_errs)
		return "127.255.255.254";
	if (ends(r->name, ".all.test"))
		return "127.0.0.2";
	return ends(r->name, ".parked.test") ? "192.0.2.80" : NULL;
}

static void put_sender(struct ns_reply *r)
{
	bool mx = r->type == RR_MX, txt = r->type == RR_TXT;
	if (strcmp(r->name, "mx.test") == 0 && mx)
		put_named(r, RR_MX, 60, 10, "away.test");
	else if (strcmp(r->name, "null.test") == 0 && mx)
		put_named(r, RR_MX, 60, 0, "");
	else if (strcmp(r->name, "host.test") == 0 && r->type == RR_A)
		put_addr(r, r->name, 60, "203.0.113.99");
	else if (strcmp(r->name, "half.test") == 0) /* no MX; whether an address is not known */
		r->rcode = mx || txt ? 0 : 2;
	else if (ends(r->name, "broken.test"))
		r->rcode = 2;
	else if (strcmp(r->name, "spf.test") == 0 && mx)
		put_named(r, RR_MX, 60, 10, "away.test");
	else if (strcmp(r->name, "spf.test") == 0 && txt)
		put_rr(r, r->name, RR_TXT, 60, SPAN("\x1fv=spf1 ip4:203.0.113.64/28 -all"));
	else if (strcmp(r->name, "tempspf.test") == 0 && mx)
		put_named(r, RR_MX, 60, 10, "away.test");
	else
		r->rcode = ends(r->name, "tempspf.test") && txt ? 2 : 3;
}

static void on_question(struct ns_reply *r)
{
	const char *code = list_code(r);
	if (ends(r->name, ".dead.test") && !ends(r->name, "0.0.127.dead.test")) {
		r->drop = true;
	} else if (code != NULL) {
		put_addr(r, r->name, 0, code);
	} else if (strcmp(r->name, "20.113.0.203.in-addr.arpa") == 0) {
		put_named(r, RR_PTR, 60, -1, "client.test");
	} else if (strcmp(r->name, "21.113.0.203.in-addr.arpa") == 0) { /* not one that it has */
		put_named(r, RR_PTR, 60, -1, "client.test");
	} else if (strcmp(r->name, "22.113.0.203.in-addr.arpa") == 0) {
		put_named(r, RR_PTR, 60, -1, "other.test");
	} else if (strcmp(r->name, "other.test") == 0 && r->type == RR_A) {
		put_addr(r, r->name, 60, "203.0.113.22");
	} else if (strcmp(r->name, "23.113.0.203.in-addr.arpa") == 0) {
		r->rcode = 2;
	} else if (strcmp(r->name, "24.113.0.203.in-addr.arpa") == 0) {
		r->drop = true;
	} else if (strcmp(r->name, "client.test") == 0) {
		name_asked++;
		put_addr(r, r->name, 60, "203.0.113.20");
	} else {
		put_sender(r);
	}
}

static void start_ns(void)
{
	char at[IP_TEXT_SIZE];
	fake_ns_begin(&ns, on_question);
	snprintf(bench_root, sizeof bench_root, "dns_servers %s; dns_timeout 700ms;\n",
	    ip_port_text(ns.at, at));
}

static int setup_ns(void **state)
{
	bench_prepare = start_ns;
	return setup(state);
}

static int teardown_ns(void **state)
{
	edge_free(&edge);
	fake_ns_end(&ns);
	return teardown(state);
}

/* Every list but the three good ones (and late.test, which is not tested) must be found out. */
static void wait_tested(void)
{
	WAIT_FOR(metric_get(&edge_metrics[EDGE_M_DNSBL_BROKEN]) == 4);
}

static void say(const char *listener, const char *client, const char *script, struct talk *t)
{
	*t = talk_open(listener, client);
	talk_until(t, "\r\n");
	talk_send(t, span_str(script), SIZE_MAX);
	talk_until(t, NULL);
}

static void expect(const char *listener, const char *client, const char *script, const char *want)
{
	struct talk t;
	say(listener, client, script, &t);
	if (strcmp(codes(&t), want) != 0)
		print_error("%s: %.*s\n", client, SPAN_ARG(buf_span(&t.heard)));
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

#define TO_ALICE HELLO "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n"

static void test_scores(void **state)
{
	struct talk t;
	wait_tested();
	say("mx", "203.0.113.10", "", &t);
	assert_string_equal(codes(&t), "554");
	assert_non_null(strstr(buf_cstr(&t.heard), "203.0.113.10 is on the DNS list bl.test ["));
	talk_close(&t);
	expect("mx", "203.0.113.11", QUIT, "220 221"); /* allowed by more than it is blocked */
	expect("mx", "203.0.113.12", QUIT, "220 221");
	expect("mx", "203.0.113.13", QUIT, "220 221"); /* not enough */
	expect("mx", "203.0.113.9", QUIT, "220 221");  /* on no list that works */
	expect("submission", "203.0.113.10", QUIT, "220 221");
}

static void test_an_error_code_is_never_a_hit(void **state)
{
	wait_tested();
	expect("mx", "203.0.113.14", QUIT, "220 221");
	/* bl.test gave it away: it is out until it has passed its tests again */
	assert_int_equal(metric_get(&edge_metrics[EDGE_M_DNSBL_BROKEN]), 5);
	expect("mx", "203.0.113.15", QUIT, "220 221");
	edge_reload(edge, conf); /* tests them again */
	wait_tested();
	expect("mx", "203.0.113.15", "", "554");
	list_errs = true;
	expect("mx", "203.0.113.21", QUIT, "220 221");
	assert_int_equal(metric_get(&edge_metrics[EDGE_M_DNSBL_BROKEN]), 5);
	list_errs = false;
	edge_reload(edge, conf);
	wait_tested();
}

static void test_auth_stays_usable(void **state)
{
	wait_tested();
	expect("auth", "203.0.113.16", TO_ALICE "RCPT TO:<postmaster@example.org>\r\n" QUIT,
	    "220 250 250 554 250 221");
	expect("auth", "203.0.113.16",
	    HELLO "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n"
		  "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n" QUIT,
	    "220 250 235 250 250 221");
	expect("auth", "203.0.113.9", TO_ALICE QUIT, "220 250 250 250 221");
}

/* Each word of dnsbl_action, in each place. */
static void test_what_a_listed_client_gets(void **state)
{
	struct edge_conf *c = (struct edge_conf *)(uintptr_t)edge->setup->edge;
	static const char both[] = TO_ALICE "RCPT TO:<postmaster@example.org>\r\n" QUIT;
	struct talk t;
	wait_tested();
	c->dnsbl_action = DNSBL_DEFER;
	expect("mx", "203.0.113.30", "", "421");
	expect("auth", "203.0.113.30", both, "220 250 250 450 250 221");
	c->dnsbl_at = DNSBL_AT_RECIPIENT;
	expect("mx", "203.0.113.31", both, "220 250 250 450 250 221");
	c->dnsbl_action = DNSBL_REFUSE;
	expect("mx", "203.0.113.31", both, "220 250 250 554 250 221");
	c->dnsbl_at = DNSBL_AT_CONNECT;
	c->dnsbl_action = DNSBL_TAG;
	memset(&given, 0, sizeof given);
	given.code = 250;
	say("mx", "203.0.113.32",
	    HELLO "MAIL FROM:<tag@mx.test>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n" QUIT,
	    &t);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	assert_non_null(strstr(given.head, "X-Postern-Listed: bl.test 127.0.0.2 +3"));
	talk_close(&t);
	c->dnsbl_action = DNSBL_REFUSE;
}

static void test_name_in_received(void **state)
{
	struct talk t = talk_open("mx", "203.0.113.20");
	given.code = 250;
	talk_until(&t, "220");
	WAIT_FOR(name_asked == 2);
	run_rounds(50);
	talk_send(&t,
	    SPAN(HELLO "MAIL FROM:<x@mx.test>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT
		       ".\r\n" QUIT),
	    SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	assert_non_null(
	    strstr(given.head, "Received: from c.example (client.test [203.0.113.20])\r\n"));
	talk_close(&t);
}

/* A rule waits for the name; what the DNS does not say is not "unknown". */
static void test_access_by_name(void **state)
{
	static const struct {
		const char *client, *want;
	} cases[] = {
		{ "203.0.113.20", "550 5.7.1 by name" },
		{ "203.0.113.21", "450 4.7.1" },
		{ "203.0.113.22", "250 2.1.5" },
		{ "203.0.113.23", "451 4.3.0" },
		{ "203.0.113.24", "451 4.3.0" },
		{ "203.0.113.25", "450 4.7.1" },
		{ "127.0.0.1", "250 2.1.5" },
	};
	struct talk t;
	wait_tested();
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char want[64];
		say("named", cases[i].client, TO_ALICE QUIT, &t);
		snprintf(want, sizeof want, "\r\n%s", cases[i].want);
		if (strstr(buf_cstr(&t.heard), want) == NULL)
			print_error("%s: %.*s\n", cases[i].client, SPAN_ARG(buf_span(&t.heard)));
		assert_non_null(strstr(buf_cstr(&t.heard), want));
		talk_close(&t);
	}
}

static void test_sender_domains(void **state)
{
	static const struct {
		const char *sender, *want;
	} cases[] = {
		{ "x@mx.test", "250" },
		{ "x@host.test", "250" },
		{ "x@null.test", "550" },
		{ "x@nowhere.test", "550" },
		{ "x@broken.test", "450" },
		{ "x@half.test", "450" },
		{ "x@[203.0.113.1]", "250" },
		{ "", "250" },
		{ "x@spf.test", "550" },
		{ "x@tempspf.test", "451" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char script[256], want[64], client[32];
		snprintf(client, sizeof client, "203.0.113.%zu", 40 + i);
		snprintf(script, sizeof script,
		    HELLO "MAIL FROM:<%s>\r\nRCPT TO:<alice@example.org>\r\n" QUIT,
		    cases[i].sender);
		snprintf(want, sizeof want, "220 250 %s %s 221", cases[i].want,
		    cases[i].want[0] == '2' ? "250" : "503");
		expect("mx", client, script, want);
	}
	/* dns_exempt, and our own users' senders, are not looked at here */
	expect("mx", "192.0.2.60", HELLO "MAIL FROM:<x@nowhere.test>\r\n" QUIT, "220 250 250 221");
	expect("submission", "203.0.113.60", HELLO "MAIL FROM:<x@nowhere.test>\r\n" QUIT,
	    "220 250 530 221");
}

static void test_spf_in_the_header(void **state)
{
	struct talk t;
	given.code = 250;
	say("mx", "203.0.113.65",
	    HELLO "MAIL FROM:<x@spf.test>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT
		  ".\r\n" QUIT,
	    &t);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	assert_non_null(strstr(given.head,
	    "Authentication-Results: mail.example.org;\r\n\tspf=pass smtp.mailfrom=spf.test\r\n"
	    "Received-SPF: pass (mail.example.org) client-ip=203.0.113.65;\r\n"
	    "\tidentity=mailfrom; helo=c.example;\r\n\tenvelope-from=\"x@spf.test\"\r\n"
	    "Received: from c.example ("));
	assert_true(span_starts(span_str(given.head), SPAN("Authentication-Results: ")));
	talk_close(&t);
	say("mx", "203.0.113.66",
	    "EHLO [IPv6:2001:db8::7]\r\nMAIL FROM:<>\r\n"
	    "RCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT ".\r\n" QUIT,
	    &t);
	assert_non_null(strstr(given.head, "\tspf=none smtp.helo=\"[IPv6:2001:db8::7]\"\r\n"));
	assert_non_null(strstr(given.head, "\tidentity=helo; helo=\"[IPv6:2001:db8::7]\";\r\n"
					   "\tenvelope-from=\"\"\r\n"));
	talk_close(&t);
}

/* Words of a stranger stay words: he cannot write results of his own behind them. */
static void test_spf_of_odd_names(void **state)
{
	struct talk t;
	given.code = 250;
	say("mx", "203.0.113.67",
	    "EHLO a..b\r\nMAIL FROM:<\"x; identity=\\\"y\"@spf.test>\r\n"
	    "RCPT TO:<alice@example.org>\r\nDATA\r\n" TEXT ".\r\n" QUIT,
	    &t);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	assert_non_null(strstr(given.head, " helo=\"a..b\";\r\n\tenvelope-from="
					   "\"\\\"x; identity=\\\\\\\"y\\\"@spf.test\"\r\n"));
	talk_close(&t);
}

/* The record behind the id of the last refusal. */
static void explain(struct talk *t, struct buf *out)
{
	struct span heard = buf_span(&t->heard);
	size_t open = span_rfind(heard, '[');
	assert_true(open != SIZE_MAX);
	edge_explain(edge, span_of(heard.p + open + 1, IDENT_LEN), out);
}

static void test_refusals_are_explained(void **state)
{
	struct buf why = BUF_INIT(100000);
	struct talk t;
	wait_tested();
	say("mx", "203.0.113.80", HELLO "MAIL FROM:<x@nowhere.test>\r\n" QUIT, &t);
	explain(&t, &why);
	assert_non_null(strstr(
	    buf_cstr(&why), "{\"check\":\"mail\",\"answer\":\"from <x@nowhere.test> in session "));
	assert_non_null(
	    strstr(buf_cstr(&why), "\"check\":\"sender_domain\",\"answer\":\"does not exist\""));
	assert_non_null(strstr(
	    buf_cstr(&why), "\"check\":\"spf\",\"answer\":\"none: no record (nowhere.test)\""));
	assert_non_null(
	    strstr(buf_cstr(&why), "\"answer\":\"MAIL: 550 the sender's domain does not exist\""));
	talk_close(&t);
	buf_clear(&why);
	say("mx", "203.0.113.18", "", &t);
	explain(&t, &why);
	assert_non_null(strstr(buf_cstr(&why),
	    "\"check\":\"dnsbl\",\"answer\":\"score 3: bl.test 127.0.0.2 +3, "
	    "err.test (ignored: answers with an error code, 127.255.255.*), "));
	assert_non_null(strstr(buf_cstr(&why), "\"check\":\"end\",\"answer\":\"listed: bl.test\""));
	talk_close(&t);
	buf_end(&why);
}

static void test_reload_keeps_what_is_known(void **state)
{
	wait_tested();
	edge_reload(edge, conf);
	expect("mx", "203.0.113.17", "", "554"); /* no new tests are needed first */
}

static void test_a_client_that_goes(void **state)
{
	for (int i = 0; i < 3; i++) {
		char client[32];
		snprintf(client, sizeof client, "203.0.113.%d", 30 + i);
		struct talk t = talk_open("mx", client);
		for (int k = 0; k < i; k++)
			loop_step(loop, 1);
		talk_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scores),
		cmocka_unit_test(test_an_error_code_is_never_a_hit),
		cmocka_unit_test(test_auth_stays_usable),
		cmocka_unit_test(test_what_a_listed_client_gets),
		cmocka_unit_test(test_name_in_received),
		cmocka_unit_test(test_access_by_name),
		cmocka_unit_test(test_sender_domains),
		cmocka_unit_test(test_spf_in_the_header),
		cmocka_unit_test(test_spf_of_odd_names),
		cmocka_unit_test(test_refusals_are_explained),
		cmocka_unit_test(test_reload_keeps_what_is_known),
		cmocka_unit_test(test_a_client_that_goes),
	};
	return cmocka_run_group_tests(tests, setup_ns, teardown_ns);
}
