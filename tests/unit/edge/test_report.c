/* test_report.c - who is told of what (RFC 3461, 3464): success, delay, failure, never, and of a report that
 * is refused itself. */
#include "tests/unit/edge/queue_bench.h"

#include "edge/channel.h"
#include "edge/queue_tables.h"

static struct spool_recipient wishing(const char *address, unsigned notify)
{
	struct spool_recipient r = to(address);
	r.notify = notify;
	r.orcpt = SPAN("rfc822;old+2Bbob@x.example");
	return r;
}

/* Delivered: told where asked for, with the header whatever RET says; and once, although the queue is
 * opened again. */
static void test_success(void **state)
{
	struct bench b;
	bench_open(&b,
	    SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, DONE, MAIL("", "alice"), GO, DONE));
	b.trusted = true;
	b.ret = SMTP_RET_FULL;
	b.envid = "q+2B1";
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(wishing("bob@x.example", SMTP_NOTIFY_SUCCESS)));
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(seen(&b, "Action: delivered\n") + seen(&b, "Action: delivered\r\n"), 1);
	assert_int_equal(seen(&b, "Original-Envelope-Id: q+1\r\n"), 1);
	assert_int_equal(seen(&b, "Original-Recipient: rfc822; old+bob@x.example\r\n"), 1);
	assert_int_equal(seen(&b, "Status: 2.0.0"), 1);
	assert_int_equal(seen(&b, "text/rfc822-headers"), 1);
	assert_int_equal(seen(&b, "line 0"), 1);
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* Of an address that was expanded: at once, by what it was; not while an operator holds it, and to nobody who may have been
 * borrowed. */
static void test_expanded(void **state)
{
	static const char *const release[] = { "release", "all" };
	for (int i = 0; i < 4; i++) {
		struct bench b;
		struct buf out = BUF_INIT(1000);
		bool list = i == 1, held = i == 2, stranger = i == 3;
		bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
		b.aligned = !stranger;
		b.hold = held;
		set_body(&b, 100);
		struct spool_recipient r = wishing("team@x.example", SMTP_NOTIFY_SUCCESS);
		r.user = SPAN_NONE;
		r.store = SPAN(EXPANDED_PLACE);
		r.detail = list ? SPAN(EXPANDED_LIST) : SPAN_NONE;
		put_and_wait(&b, "alice@x.example", TO(r));
		if (held) {
			queue_again(&b);
			assert_int_equal(queue_recipients(b.queue), 1);
			assert_int_equal(seen(&b, "}"), 0);
			assert_true(queue_control(b.queue, release, 2, NULL, &out));
		}
		WAIT_FOR(&b, seen(&b, "}") == !stranger && EMPTY(&b));
		queue_again(&b);
		assert_true(EMPTY(&b));
		assert_int_equal(seen(&b, "Action: expanded\r\n"), !list && !stranger);
		assert_int_equal(seen(&b, "Action: delivered\r\n"), list);
		assert_int_equal(
		    seen(&b, "Original-Recipient: rfc822; old+bob@x.example\r\n"), !stranger);
		buf_end(&out);
		bench_close(&b);
	}
}

/* SPF has said that its client may not send for a user of ours: the user is not told of what others have sent. */
static void test_disowned(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 550 5.1.1 no"));
	b.disowned = true;
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "}") >= 1 && metric_get(&queue_metrics[QUEUE_M_MESSAGES]) == 0);
	assert_int_equal(seen(&b, "}"), 1);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* SPF has said that the sender's client may send for it: it is told, wherever it is; else nobody who is not ours. */
static void test_elsewhere(void **state)
{
	for (int aligned = 0; aligned <= 1; aligned++) {
		struct bench b;
		int fd;
		bench_open(&b, SCRIPT(LHLO, MAIL("s@far.example", "bob"), GO, "S 550 5.1.1 no"));
		b.edge->relay_port = dead_port(&fd);
		b.aligned = aligned != 0;
		queue_again(&b);
		set_body(&b, 100);
		put_and_wait(&b, "s@far.example", TO(to("bob@x.example")));
		WAIT_FOR(&b, seen(&b, "}") == 1 && queue_recipients(b.queue) == (size_t)aligned);
		queue_again(&b);
		assert_int_equal(queue_recipients(b.queue), aligned);
		close(fd);
		bench_close(&b);
	}
}

/* The next hop offers DSN: it will report. */
static void test_success_of_next_hop(void **state)
{
	struct bench b;
	bench_open(
	    &b, SCRIPT("S 220 hi", "C LHLO", "R 250-x\r\n250-PIPELINING\r\n250 DSN\r\n", "C MAIL",
		    "C RCPT TO:<bob@x.example> NOTIFY=SUCCESS ORCPT=rfc822;old+2Bbob@", "C DATA",
		    GO, DONE));
	b.trusted = true;
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(wishing("bob@x.example", SMTP_NOTIFY_SUCCESS)));
	WAIT_FOR(&b, EMPTY(&b));
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* Wishes that end in silence: of what failed, of what waits too long, of what was given up. */
static void test_silence(void **state)
{
	static const struct {
		unsigned notify;
		const char *sender, *reply;
	} cases[] = {
		{ SMTP_NOTIFY_NEVER, "alice@x.example", "S 550 5.1.1 no" },
		{ SMTP_NOTIFY_SUCCESS, "alice@x.example", "S 550 5.1.1 no" },
		{ SMTP_NOTIFY_DELAY, "alice@x.example", "S 550 5.1.1 no" },
		{ SMTP_NOTIFY_NEVER, "alice@x.example", DONE },
		{ SMTP_NOTIFY_FAILURE, "alice@x.example", DONE },
		{ 0, "alice@x.example", DONE },
		{ SMTP_NOTIFY_SUCCESS, "", DONE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		bench_open(&b, SCRIPT(LHLO, "C MAIL", "C RCPT", "C DATA", GO, cases[i].reply));
		b.trusted = true;
		set_body(&b, 100);
		put_and_wait(&b, cases[i].sender, TO(wishing("bob@x.example", cases[i].notify)));
		WAIT_FOR(&b, EMPTY(&b));
		queue_again(&b);
		assert_true(EMPTY(&b));
		bench_close(&b);
	}
}

static void test_never_expires_in_silence(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 452 4.2.2 full"));
	b.edge->queue_lifetime = 1;
	b.edge->delay_notice = 1;
	b.trusted = true;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(wishing("bob@x.example", SMTP_NOTIFY_NEVER)));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* RET=FULL brings back the whole message, larger than one record too; what is over the limit does not. */
static void test_full(void **state)
{
	static const size_t sizes[] = { 100, SPOOL_INLINE_MAX, 3 * SPOOL_CHUNK };
	for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
		struct bench b;
		bool over = i >= COUNT_OF(sizes);
		bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 550 5.1.1 no",
				   MAIL("", "alice"), GO, DONE));
		b.edge->report_size_max = over ? 50 : 1 << 20;
		b.ret = SMTP_RET_FULL;
		queue_again(&b);
		set_body(&b, sizes[i % COUNT_OF(sizes)]);
		put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
		WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
		assert_int_equal(seen(&b, "message/rfc822\r\n"), !over);
		assert_int_equal(seen(&b, buf_cstr(&b.body)), over ? 1 : 2);
		assert_int_equal(seen(&b, "Action: failed"), 1);
		bench_close(&b);
	}
}

/* It waits: its sender hears of it by the schedule, and no more after the queue was opened again. */
static void test_delay(void **state)
{
	struct bench b;
	bench_open(&b,
	    SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 452 4.2.2 full", MAIL("", "alice"),
		GO, DONE, "X", LHLO, MAIL("alice@x.example", "bob"), GO, DONE));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->delay_notice = 0;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 2 && queue_recipients(b.queue) == 1);
	assert_int_equal(seen(&b, "Action: delayed"), 1);
	assert_int_equal(seen(&b, "Status: 4.2.2"), 1);
	assert_int_equal(seen(&b, "Will-Retry-Until: "), 1);
	for (int i = 0; i < 3; i++) {
		queue_again(&b);
		loop_step(b.loop, 20);
	}
	assert_int_equal(queue_recipients(b.queue), 1);
	WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
	assert_int_equal(seen(&b, "MAIL FROM:<>"), 1);
	bench_close(&b);
}

static void test_delay_again(void **state)
{
	struct bench b;
	bench_open(
	    &b, SCRIPT(LHLO, "C MAIL FROM:<alice@", "C RCPT", "C DATA", GO, "S 452 4.2.2 full",
		    "C MAIL FROM:<>", "C RCPT", "C DATA", GO, DONE, "C MAIL FROM:<alice@", "C RCPT",
		    "C DATA", GO, "S 452 4.2.2 full", "C MAIL FROM:<>", "C RCPT", "C DATA", GO,
		    DONE, "C MAIL FROM:<alice@", "C RCPT", "C DATA", GO, DONE));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->delay_notice = 0;
	b.edge->delay_notice_every = 100;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	uint64_t begun_ms = clock_mono_ms();
	WAIT_FOR(&b, seen(&b, "}") == 2 && queue_recipients(b.queue) == 1);
	WAIT_FOR(&b, clock_mono_ms() > begun_ms + 101); /* the second notice is due */
	retry(&b);
	WAIT_FOR(&b, seen(&b, "}") == 4 && queue_recipients(b.queue) == 1);
	retry(&b);
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "Action: delayed"), 2);
	bench_close(&b);
}

/* A next hop's words are said to be its own: a name, or an address as a literal; ours are ours. */
static void test_whose_words(void **state)
{
	static const struct {
		const char *remote, *fields;
	} cases[] = {
		{ "mx.far.example", "Remote-MTA: dns; mx.far.example\r\n"
				    "Diagnostic-Code: smtp; 550 5.7.9 not for bob\r\n" },
		{ "192.0.2.7", "Remote-MTA: dns; [192.0.2.7]\r\nDiagnostic-Code: smtp; " },
		{ "2001:db8::7", "Remote-MTA: dns; [IPv6:2001:db8::7]\r\nDiagnostic-Code: smtp; " },
		{ "", "Status: 5.7.9\r\nDiagnostic-Code: X-Postern; not for bob\r\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		struct spool_recipient refused = refused_to("bob@x.example");
		refused.remote = span_str(cases[i].remote);
		bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
		set_body(&b, 100);
		put_and_wait(&b, "alice@x.example", TO(refused));
		WAIT_FOR(&b, seen(&b, "}") == 1 && EMPTY(&b));
		assert_int_equal(seen(&b, cases[i].fields), 1);
		bench_close(&b);
	}
}

/* The spool keeps whose words they are, until there are others. */
static void test_words_are_kept(void **state)
{
	static const char *const bounce[] = { "bounce", "all" };
	struct bench b;
	struct buf out = BUF_INIT(10000);
	open_late(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 452 4.2.2 full", "X",
			  LHLO, MAIL("", "alice"), GO, DONE));
	struct ident id = put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	const char *const show[] = { "show", id.s };
	WAIT_FOR(&b, (buf_clear(&out), queue_control(b.queue, show, 2, NULL, &out),
			 strstr(buf_cstr(&out), "full") != NULL));
	queue_again(&b);
	buf_clear(&out);
	assert_true(queue_control(b.queue, show, 2, NULL, &out));
	assert_non_null(strstr(buf_cstr(&out), "\"remote\":\"store1\""));
	assert_true(queue_control(b.queue, bounce, 2, NULL, &out));
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(seen(&b, "Diagnostic-Code: X-Postern; returned by the administrator"), 1);
	assert_int_equal(seen(&b, "Remote-MTA"), 0);
	buf_end(&out);
	bench_close(&b);
}

/* The report is refused: the postmaster gets it whole; when that is refused too, it ends. */
static void test_double(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct bench b;
		bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 550 5.1.1 no",
				   MAIL("", "alice"), GO, "S 550 5.7.1 go away", MAIL("", "carol"),
				   GO, i == 0 ? DONE : "S 550 5.7.1 not here"));
		b.edge->double_bounce = mem_str("carol@x.example");
		queue_again(&b);
		set_body(&b, 100);
		put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
		WAIT_FOR(&b, seen(&b, "}") == 3 && EMPTY(&b));
		assert_int_equal(seen(&b, "To: <carol@x.example>"), 1);
		assert_int_equal(seen(&b, "Final-Recipient: rfc822; alice@x.example"), 1);
		assert_int_equal(seen(&b, "Final-Recipient: rfc822; bob@x.example"), 2);
		queue_again(&b);
		assert_true(EMPTY(&b));
		mem_free((char *)(uintptr_t)b.edge->double_bounce);
		b.edge->double_bounce = NULL;
		bench_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success),
		cmocka_unit_test(test_expanded),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_disowned),
		cmocka_unit_test(test_success_of_next_hop),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_never_expires_in_silence),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_delay_again),
		cmocka_unit_test(test_whose_words),
		cmocka_unit_test(test_words_are_kept),
		cmocka_unit_test(test_double),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
