/* test_queue_control.c - an operator's conditions and orders: whom they meet, what they do, that they are
 * still so when the queue is opened again. */
#include "edge/queue_filter.h"
#include "tests/unit/edge/queue_bench.h"

/* The answer to words separated by single spaces. */
static const char *said(struct bench *b, const char *line)
{
	static char words[1000], answer[4 << 20];
	const char *list[20];
	size_t n = 0;
	struct buf out = BUF_INIT(sizeof answer - 1);
	snprintf(words, sizeof words, "%s", line);
	for (char *at = words, *rest; at != NULL && n < COUNT_OF(list); at = rest) {
		rest = strchr(at, ' ');
		if (rest != NULL)
			*rest++ = '\0';
		list[n++] = at;
	}
	answer[0] = '\0';
	if (queue_control(b->queue, list, n, NULL, &out))
		snprintf(answer, sizeof answer, "%s", buf_cstr(&out));
	buf_end(&out);
	return answer;
}

static bool says(struct bench *b, const char *line, const char *word)
{
	return strstr(said(b, line), word) != NULL;
}

/* ---- conditions --------------------------------------------------------------------------------- */

static void test_filter(void **state)
{
	static const struct queue_facts facts = { SPAN("k1"), SPAN("Alice@x.example"),
		SPAN("bob@far.example"), SPAN("store1"), SPAN("mailbox is Full"), SPAN("held"),
		7200 };
	static const struct {
		const char *words[3];
		bool good, meets;
	} cases[] = {
		{ { NULL }, true, true },
		{ { "all" }, true, true },
		{ { "k1" }, true, true },
		{ { "k" }, true, false },
		{ { "id=k1" }, true, true },
		{ { "sender=alice@x.example" }, true, true },
		{ { "sender=alice" }, true, false },
		{ { "sender=*@X.example" }, true, true },
		{ { "sender=" }, true, false },
		{ { "sender=*" }, true, true },
		{ { "sender=**@*ex*le" }, true, true },
		{ { "sender=*x*x*x*" }, true, false },
		{ { "sender=a*b" }, true, false },
		{ { "recipient=*@far.example" }, true, true },
		{ { "domain=FAR.example" }, true, true },
		{ { "domain=example" }, true, false },
		{ { "domain=@example" }, true, true },
		{ { "domain=@far.example" }, true, true },
		{ { "domain=@ar.example" }, true, false },
		{ { "domain=" }, false, false },
		{ { "destination=store?" }, true, false },
		{ { "reason=is full" }, true, true },
		{ { "reason=empty" }, true, false },
		{ { "state=held", "older=2h" }, true, true },
		{ { "state=held", "older=3h" }, true, false },
		{ { "younger=7200s", "older=1m" }, true, true },
		{ { "younger=1h" }, true, false },
		{ { "state=waiting", "k1" }, true, false },
		{ { "older=2" }, false, false },
		{ { "older=h" }, false, false },
		{ { "older=-1h" }, false, false },
		{ { "recipient=" }, false, false },
		{ { "frob=1" }, false, false },
		{ { "" }, false, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct queue_filter f;
		struct buf why = BUF_INIT(1000);
		size_t n = 0;
		while (cases[i].words[n] != NULL)
			n++;
		bool good = queue_filter_parse(cases[i].words, n, &f, &why);
		if (good != cases[i].good ||
		    (good && queue_filter_matches(&f, &facts) != cases[i].meets))
			fail_msg("case %zu: %s", i, n > 0 ? cases[i].words[0] : "");
		assert_int_equal(buf_len(&why) > 0, !good);
		buf_end(&why);
	}
}

/* ---- orders ------------------------------------------------------------------------------------- */

/* The store says "later", and the connection stays. */
#define LATER(from, rcpt) MAIL(from, rcpt), GO, "S 452 4.2.2 full"

/* One number for what is the same by channel, destination and reason. */
static void test_summary(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, LATER("s@far.example", "alice"), "C MAIL", "C RCPT", "C DATA",
			  GO, "S 451 4.7.1 not now", "X"));
	assert_string_equal(said(&b, "summary"), "[]");
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, says(&b, "list", "\"attempts\":1,"));
	assert_true(says(&b, "summary", "[{\"channel\":\"store\",\"destination\":\""));
	assert_true(says(&b, "summary", "\"reason\":\"quota\",\"recipients\":1,"));
	assert_true(says(&b, "summary reason=full", "\"recipients\":1"));
	assert_string_equal(said(&b, "summary reason=frob"), "[]");
	put_and_wait(&b, "s@far.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, says(&b, "summary", "\"reason\":\"policy\""));
	assert_true(says(&b, "summary", "\"reason\":\"quota\""));
	for (int i = 0; i < 2; i++) { /* after a restart, too */
		assert_true(says(&b, "summary domain=x.example", "\"recipients\":1,\"bytes\":"));
		queue_again(&b);
	}
	assert_true(says(&b, "delete all", "\"recipients\":2"));
	assert_string_equal(said(&b, "summary all"), "[]");
	bench_close(&b);
}

static void test_hold(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, LATER("s@far.example", "alice"), "X", LHLO,
			  MAIL("s@far.example", "alice"), GO, DONE));
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, says(&b, "list", "\"attempts\":1,"));
	assert_true(says(&b, "hold recipient=bob@*", "\"recipients\":0"));
	assert_true(says(&b, "hold recipient=alice@*", "\"recipients\":1"));
	assert_true(says(&b, "hold all", "\"recipients\":0"));
	assert_true(says(&b, "retry", "\"recipients\":0"));
	for (int i = 0; i < 2; i++) {
		assert_true(says(&b, "list state=held", "alice@x.example"));
		queue_again(&b);
	}
	for (int i = 0; i < 5; i++)
		loop_step(b.loop, 10);
	assert_int_equal(seen(&b, "MAIL FROM"), 1);
	assert_true(says(&b, "release all", "\"recipients\":1"));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* Held while it is delivered: that attempt ends, another does not begin. */
static void test_hold_running(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, MAIL("", "alice"), "S 250 ok", "S 250 ok", "H"));
	b.edge->reply_timeout = 100;
	queue_again(&b);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, says(&b, "list", "\"state\":\"running\""));
	assert_true(says(&b, "bounce all", "\"recipients\":0"));
	assert_true(says(&b, "hold all", "\"recipients\":1"));
	WAIT_FOR(&b, says(&b, "list", "\"state\":\"held\""));
	bench_close(&b);
}

static void test_bounce_and_delete(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, "C MAIL", "C RCPT TO:<bob@", "C RCPT TO:<carol@", "C DATA",
			  "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go", "B", "S 452 4.2.2 full",
			  "S 452 4.2.2 full", MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example"), to("carol@x.example")));
	WAIT_FOR(&b, says(&b, "list recipient=carol@*", "\"attempts\":1,"));
	assert_true(says(&b, "bounce", "\"error\""));
	assert_true(says(&b, "delete recipient=bob@x.example", "\"recipients\":1,\"more\":false"));
	assert_int_equal(queue_recipients(b.queue), 1);
	assert_true(says(&b, "bounce recipient=*@x.example reason=full", "\"recipients\":1"));
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(seen(&b, "Final-Recipient: rfc822; carol@"), 1);
	assert_int_equal(seen(&b, "Final-Recipient"), 1);
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* To another host, for a local recipient too; and after the queue was opened again. */
static void test_reroute(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, LATER("", "alice"), "X", LHLO, MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, says(&b, "list", "\"attempts\":1,"));
	assert_true(says(&b, "reroute all", "\"error\""));
	assert_true(says(&b, "hold to=a all", "\"error\""));
	assert_true(says(&b, "reroute to=a:99999 all", "\"error\""));
	assert_true(says(&b, "reroute to=[::1 all", "\"error\""));
	assert_true(says(&b, "reroute to=127.0.0.1:1 all", "\"recipients\":1"));
	WAIT_FOR(&b, says(&b, "list", "\"attempts\":2,"));
	queue_again(&b);
	assert_true(says(&b, "list destination=127.0.0.1:1", "alice@x.example"));
	assert_true(says(&b, "reroute to=- all", "\"recipients\":1"));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

static void test_show_and_cat(void **state)
{
	struct bench b;
	char line[100];
	open_late(&b, SCRIPT(LHLO, LATER("s@far.example", "alice")));
	b.envid = "e+3D";
	struct ident id = put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, says(&b, "list", "\"attempts\":1,"));
	snprintf(line, sizeof line, "show %s", id.s);
	assert_true(says(&b, line, "\"envid\":\"e+3D\""));
	assert_true(says(&b, line, "\"enhanced\":\"4.2.2\""));
	assert_true(says(&b, "show nonsense", "\"error\""));
	snprintf(line, sizeof line, "cat %s", id.s);
	assert_true(says(&b, line, "U3ViamVjdDogeA")); /* Subject: x */
	snprintf(line, sizeof line, "cat %s 9", id.s);
	assert_true(says(&b, line, "\"base64\":\"eA0KWC1Mb25n")); /* x, X-Long */
	snprintf(line, sizeof line, "cat %s 999999", id.s);
	assert_true(says(&b, line, "\"base64\":\"\""));
	assert_string_equal(said(&b, "frob"), "");
	assert_string_equal(said(&b, "show"), "");
	bench_close(&b);
}

/* ---- long lists ----------------------------------------------------------------------------------- */

static size_t count(const char *text, const char *word)
{
	size_t n = 0;
	while ((text = strstr(text, word)) != NULL) {
		text += strlen(word);
		n++;
	}
	return n;
}

/* What is not all says so, and where it goes on: nobody is left out, nobody stands there twice. */
static void test_pages(void **state)
{
	enum { MESSAGES = 7, EACH = 1000 };
	static char addresses[EACH][32];
	static struct spool_recipient all[EACH + 1];
	struct bench b;
	struct ident ids[MESSAGES];
	char line[100], after[40] = "";
	size_t rows = 0, pages = 0;
	int unused;
	open_late(&b, SCRIPT("X"));
	b.edge->relay_host = (struct conf_hostport){ "127.0.0.1", dead_port(&unused) };
	for (int i = 0; i < EACH; i++) {
		snprintf(addresses[i], sizeof addresses[i], "u%d@far.example", i);
		all[i] = to(addresses[i]);
	}
	for (int i = 0; i < MESSAGES; i++) {
		ids[i] = put_and_wait(&b, "s@far.example", all);
	}
	do {
		snprintf(line, sizeof line, "list%s%s", pages > 0 ? " after=" : "", after);
		const char *answer = said(&b, line), *more = strstr(answer, "\"after\":\"");
		rows += count(answer, "\"recipient\":");
		for (int i = 0; i < MESSAGES; i++)
			assert_true(count(answer, ids[i].s) % EACH <= 1);
		if (more == NULL)
			after[0] = '\0';
		else
			snprintf(
			    after, sizeof after, "%.*s", (int)strcspn(more + 9, "\""), more + 9);
	} while (++pages < 10 && after[0] != '\0');
	assert_int_equal(rows, MESSAGES * EACH);
	assert_int_equal(pages, 2);
	assert_true(says(&b, "list after=nobody", "begin anew"));
	assert_true(says(&b, "hold all after=x", "after= is for list"));
	close(unused);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_summary),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_hold_running),
		cmocka_unit_test(test_bounce_and_delete),
		cmocka_unit_test(test_reroute),
		cmocka_unit_test(test_show_and_cat),
		cmocka_unit_test(test_pages),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
