/* test_queue.c - from a worker's question to the store, in one process: what is durable survives closing;
 * nothing is delivered twice; who is told of what failed. */
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/edge/queue_bench.h"

static void store_again(struct bench *b, const char *const *script)
{
	fake_end(&b->store);
	store_up(b, script);
}

static bool listed(struct bench *b, const char *word)
{
	struct buf out = BUF_INIT(1 << 20);
	static const char *const list[] = { "list" };
	assert_true(queue_control(b->queue, list, 1, NULL, &out));
	bool found = strstr(buf_cstr(&out), word) != NULL;
	buf_end(&out);
	return found;
}

/* ---- tests --------------------------------------------------------------------------------------- */

/* Durable, delivered with its id, forgotten; asked again it is known, and not delivered again. */
static void test_delivered(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, DONE));
	set_body(&b, 1000);
	struct ident id = put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, id.s), 1);
	assert_int_equal(seen(&b, buf_cstr(&b.body)), 1);
	for (int i = 0; i < 2; i++) {
		struct put *again = put(&b, id, "s@far.example", TO(to("alice@x.example")));
		WAIT_FOR(&b, again->answered);
		assert_int_equal(again->err, ERR_OK);
		assert_true(EMPTY(&b));
		queue_again(&b); /* the log remembers as well */
	}
	assert_int_equal(b.store.connections, 1);
	bench_close(&b);
}

/* Bodies in memory, at the edges of one record and of chunks. */
static void test_sizes(void **state)
{
	static const size_t sizes[] = { 30, SPOOL_INLINE_MAX, SPOOL_INLINE_MAX + 1, SPOOL_CHUNK,
		SPOOL_CHUNK + 1, 3 * SPOOL_CHUNK + 17 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bench b;
		open_late(&b, SCRIPT("S 421 no", "X"));
		set_body(&b, sizes[i] - 20);
		while (buf_len(&b.body) < sizes[i] - 2)
			buf_add_char(&b.body, 'z');
		buf_add_str(&b.body, "\r\n");
		assert_int_equal(buf_len(&b.body), sizes[i]);
		put_and_wait(&b, "", TO(to("alice@x.example")));
		queue_gone(&b);
		store_again(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
		queue_up(&b);
		WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
		char *want = mem_alloc(sizes[i] + 3);
		snprintf(want, sizes[i] + 3, "{%s}", buf_cstr(&b.body));
		assert_int_equal(seen(&b, want), 1);
		mem_free(want);
		bench_close(&b);
	}
}

/* A mailbox that is full is tried again by itself; the queue can say why. */
static void test_deferred(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, "S 452 4.2.2 full",
			   MAIL("s@far.example", "alice"), GO, "S 452 4.2.2 full",
			   MAIL("s@far.example", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "\"attempts\":1,") || EMPTY(&b));
	assert_true(listed(&b, "\"reason\":\"full\""));
	if (LOADED_MAX == 0) /* else it is looked up again at the next attempt */
		assert_true(listed(&b, "\"destination\":\"store1\""));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "C MAIL") + seen(&b, "MAIL FROM"), 3);
	assert_int_equal(b.store.connections, 1);
	bench_close(&b);
}

/* Nothing is due for an hour, then the operator asks. */
static void test_retry(void **state)
{
	struct bench b;
	open_late(&b,
	    SCRIPT(LHLO, MAIL("", "alice"), GO, "S 452 4.2.2 full", MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "\"attempts\":1,"));
	for (int i = 0; i < 10; i++)
		loop_step(b.loop, 10);
	assert_int_equal(seen(&b, "MAIL FROM"), 1);
	assert_int_equal(retry(&b), 1);
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* A store that is away holds up its mail; when it is back everything goes, after a reopen too. */
static void test_store_away(void **state)
{
	struct bench b;
	bench_open(
	    &b, SCRIPT("S 421 4.3.2 down", "X", "S 421 4.3.2 down", "X", "S 421 4.3.2 down", "X"));
	set_body(&b, 100);
	for (int i = 0; i < 3; i++)
		put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, listed(&b, "421 4.3.2") || listed(&b, "421 down"));
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 3);
	store_again(&b,
	    SCRIPT(LHLO, MAIL("s@far.example", "alice"), GO, DONE, MAIL("s@far.example", "alice"),
		GO, DONE, MAIL("s@far.example", "alice"), GO, DONE));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "MAIL FROM"), 3);
	bench_close(&b);
}

/* What one of two recipients has is not given to it again after a reopen. */
static void test_progress_is_kept(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, "C MAIL", "C RCPT TO:<alice@", "C RCPT TO:<bob@", "C DATA",
			  "S 250 ok", "S 250 ok", "S 250 ok", "S 354 go", "B", DONE,
			  "S 452 4.2.2 full", "X", LHLO, MAIL("", "bob"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example"), to("bob@x.example")));
	WAIT_FOR(&b, queue_recipients(b.queue) == 1);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 1);
	WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
	assert_int_equal(seen(&b, "RCPT TO:<alice"), 1);
	bench_close(&b);
}

/* Refused: the sender, who is ours, is told once, although the queue is reopened on the way. */
static void test_bounced(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO,
			   "S 552 5.2.2 no room for ever", "X", "S 421 no", "X"));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->dead_backoff = LATE_MS;
	queue_again(&b);
	set_body(&b, 100);
	struct ident id = put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, listed(&b, "\"sender\":\"\",\"recipient\":\"alice@x.example\""));
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 1);
	store_again(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
	assert_int_equal(seen(&b, "To: <alice@x.example>"), 1);
	assert_int_equal(seen(&b, "Final-Recipient: rfc822; bob@x.example"), 1);
	assert_int_equal(seen(&b, "Status: 5.2.2"), 1);
	assert_int_equal(seen(&b, "no room for ever"), 2);
	assert_int_equal(seen(&b, "X-Long: y"), 1);
	assert_int_equal(seen(&b, "line 0"), 0); /* headers only */
	assert_true(seen(&b, id.s) > 0);
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* The message stays for another recipient: the log knows that its sender was told of the first. */
static void test_bounced_once(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT(LHLO, "C MAIL", "C RCPT TO:<bob@", "C RCPT TO:<carol@", "C DATA",
			  "S 250 ok", "S 552 5.2.2 full", "S 250 ok", "S 354 go", "B",
			  "S 452 4.2.2 later", MAIL("", "alice"), GO, DONE, "X", LHLO,
			  MAIL("alice@x.example", "carol"), GO, DONE));
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example"), to("carol@x.example")));
	WAIT_FOR(&b, seen(&b, "Final-Recipient") == 1 && queue_recipients(b.queue) == 1);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), 1);
	WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
	assert_int_equal(seen(&b, "Final-Recipient"), 1);
	bench_close(&b);
}

/* Commit found one refused while the client waited: its sender is told all the same. */
static void test_bounce_of_commit(void **state)
{
	struct bench b;
	struct spool_recipient refused = refused_to("bob@x.example");
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(refused));
	WAIT_FOR(&b, seen(&b, "}") == 1 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.7.9"), 1);
	assert_int_equal(seen(&b, "550 5.7.9 not for bob"), 1);
	assert_int_equal(seen(&b, "Diagnostic-Code: X-Postern; not for bob"), 1);
	bench_close(&b);
}

/* Nobody is told of a null sender's mail, nor a stranger; a notification that is refused ends there. */
static void test_not_bounced(void **state)
{
	static const char *const senders[] = { "", "s@far.example" };
	for (size_t i = 0; i < COUNT_OF(senders); i++) {
		struct bench b;
		bench_open(&b, SCRIPT(LHLO, "C MAIL", "C RCPT", "C DATA", GO, "S 554 5.0.0 never"));
		set_body(&b, 100);
		put_and_wait(&b, senders[i], TO(to("bob@x.example")));
		WAIT_FOR(&b, EMPTY(&b));
		queue_again(&b);
		assert_true(EMPTY(&b));
		assert_int_equal(seen(&b, "MAIL FROM"), 1);
		bench_close(&b);
	}
	struct bench b;
	bench_open(
	    &b, SCRIPT(LHLO, "C MAIL FROM:<alice@", "C RCPT", "C DATA", GO, "S 554 5.0.0 never",
		    "C MAIL FROM:<>", "C RCPT TO:<alice@", "C DATA", GO, "S 554 5.0.0 never"));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "MAIL FROM:<>") == 1 && EMPTY(&b));
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
}

/* A return path that was made for a forward: the report goes to the sender it stands for. */
static void test_bounce_to_rewritten(void **state)
{
	struct bench b;
	struct srs srs;
	char sender[SMTP_PATH_SIZE];
	bench_open(&b, SCRIPT(LHLO, "C MAIL FROM:<SRS0=", "C RCPT TO:<bob@", "C DATA", GO,
			   "S 552 5.2.2 no room for ever", MAIL("", "alice"), GO, DONE));
	b.edge->srs_domain = mem_str("srs.test");
	b.edge->srs_keys.bytes = SPAN("0123456789abcdef");
	assert_true(edge_srs(&srs, b.edge));
	assert_true(srs_forward(&srs, SPAN("alice@x.example"), clock_wall_us(), sender));
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, sender, TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "Final-Recipient: rfc822; bob@x.example") == 1 && EMPTY(&b));
	assert_int_equal(seen(&b, "To: <alice@x.example>"), 1);
	mem_free((char *)(uintptr_t)b.edge->srs_domain);
	b.edge->srs_domain = NULL;
	bench_close(&b);
}

static void test_given_up(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("alice@x.example", "bob"), GO, "S 452 4.2.2 full",
			   MAIL("", "alice"), GO, DONE));
	b.edge->queue_lifetime = 1;
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("bob@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.4.7"), 1);
	assert_int_equal(seen(&b, "last attempt: full"), 2);
	bench_close(&b);
}

/* A user the directory does not know any more is a bounce; no store is asked. */
static void test_user_gone(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "alice@x.example", TO(to("nobody@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 1 && EMPTY(&b));
	assert_int_equal(seen(&b, "Status: 5.1.1"), 1);
	bench_close(&b);
}

/* Hosts that accept and say nothing hold deliveries for a minute; a store that takes mail does not wait for
 * them. A literal each makes a destination each; one listener is behind all. */
static void test_fair(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof a;
	struct bench b;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 100), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	bench_open(
	    &b, SCRIPT(LHLO, MAIL("", "bob"), GO, "S 452 4.2.2 full", MAIL("", "alice"), GO, DONE));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->queue_deliveries = 2;
	b.edge->relay_port = ntohs(a.sin_port);
	queue_again(&b);
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("bob@x.example")));
	WAIT_FOR(&b, listed(&b, "\"attempts\":1,"));
	for (int i = 1; i <= 5; i++) {
		char address[40];
		snprintf(address, sizeof address, "u@[127.0.0.%d]", i);
		put_and_wait(&b, "", TO(to(address)));
	}
	WAIT_FOR(&b, listed(&b, "\"state\":\"running\""));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 2);
	const char *others = LOADED_MAX == 0 ? "\"state\":\"ready\"" : "\"state\":\"waiting\"";
	assert_true(listed(&b, "\"state\":\"running\"") && listed(&b, others));
	bench_close(&b);
	close(fd);
}

static void test_full(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT("S 421 no", "X"));
	b.edge->queue_recipients_max = 2;
	b.edge->dead_backoff = LATE_MS;
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example"), to("bob@x.example")));
	struct put *p = put(&b, ident_new(), "", TO(to("alice@x.example")));
	WAIT_FOR(&b, p->answered);
	assert_int_equal(p->err, ERR_NO_SPACE);
	assert_int_equal(queue_recipients(b.queue), 2);
	bench_close(&b);
}

static void on_drained(void *arg)
{
	struct bench *b = arg;
	assert_false(b->drained);
	b->drained = true;
}

/* The running delivery ends, nothing new begins, new mail is still made durable. */
/* What waits for the same place goes in order of urgency, behind the one that was there when nothing else was; again after a
 * restart. */
static void test_urgent_first(void **state)
{
	static const struct {
		const char *to;
		int priority;
	} mails[] = { { "alice", 0 }, { "carol", -4 }, { "bob", 0 }, { "gone", 9 } };
	static const char *const release[] = { "release", "all" };
	for (int again = 0; again < 2; again++) {
		struct bench b;
		struct buf out = BUF_INIT(1000);
		bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE, MAIL("", "gone"), GO, DONE,
				   MAIL("", "bob"), GO, DONE, MAIL("", "carol"), GO, DONE));
		set_body(&b, 100);
		b.hold = true;
		for (size_t i = 0; i < COUNT_OF(mails); i++) {
			char address[40];
			snprintf(address, sizeof address, "%s@x.example", mails[i].to);
			b.priority = mails[i].priority;
			put_and_wait(&b, "", TO(to(address)));
		}
		if (again)
			queue_again(&b);
		assert_true(listed(&b, "\"priority\":9,"));
		assert_true(queue_control(b.queue, release, 2, NULL, &out));
		WAIT_FOR(&b, EMPTY(&b));
		buf_end(&out);
		bench_close(&b);
	}
}

/* The wait after a failure, give or take a tenth: half, whole, twice. */
static void test_wait_by_priority(void **state)
{
	static const struct {
		int priority;
		unsigned long halves;
	} cases[] = { { 1, 1 }, { 0, 2 }, { -1, 4 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bench b;
		struct buf out = BUF_INIT(10000);
		static const char *const list[] = { "list" };
		static const char member[] = "\"next_s\":";
		open_late(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, "S 452 4.2.2 full"));
		b.edge->queue_retry_first = b.edge->queue_retry_max = 2000 * 1000;
		queue_again(&b);
		b.priority = cases[i].priority;
		put_and_wait(&b, "", TO(to("alice@x.example")));
		WAIT_FOR(&b, listed(&b, "\"attempts\":1,"));
		assert_true(queue_control(b.queue, list, 1, NULL, &out));
		unsigned long wait =
		    strtoul(strstr(buf_cstr(&out), member) + sizeof member - 1, NULL, 10);
		assert_in_range(wait, cases[i].halves * 880, cases[i].halves * 1110);
		buf_end(&out);
		bench_close(&b);
	}
}

/* A long row of urgent ones does not keep the others waiting to its end. What is on the shelf comes in the order in
 * which it went there. */
static void test_nobody_starves(void **state)
{
	static const char *const release[] = { "release", "all" };
	struct buf out = BUF_INIT(1000);
	struct bench b;
	if (LOADED_MAX != 0)
		return;
	bench_open(
	    &b, SCRIPT(LHLO, MAIL("", "gone"), GO, DONE, MAIL("", "gone"), GO, DONE,
		    MAIL("", "bob"), GO, DONE, MAIL("", "gone"), GO, DONE, MAIL("", "gone"), GO,
		    DONE, MAIL("", "gone"), GO, DONE, MAIL("", "gone"), GO, DONE, MAIL("", "carol"),
		    GO, DONE, MAIL("", "gone"), GO, DONE, MAIL("", "gone"), GO, DONE));
	set_body(&b, 100);
	b.hold = true;
	for (b.priority = 1; b.priority <= 8; b.priority++)
		put_and_wait(&b, "", TO(to("gone@x.example")));
	b.priority = 0;
	put_and_wait(&b, "", TO(to("bob@x.example")));
	b.priority = -1;
	put_and_wait(&b, "", TO(to("carol@x.example")));
	assert_true(queue_control(b.queue, release, 2, NULL, &out));
	WAIT_FOR(&b, EMPTY(&b));
	buf_end(&out);
	bench_close(&b);
}

/* Users when their mail came; their addresses stand for others by now. */
static void test_renamed(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "carol"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("former@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "RCPT TO:<carol"), 1);
	put_and_wait(&b, "", TO(to("both@x.example"), to("nobody@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "MAIL FROM"), 1);
	bench_close(&b);
}

static size_t running(struct bench *b)
{
	static const char *const words[] = { "list", "state=running" };
	struct buf out = BUF_INIT(100000);
	size_t n = 0;
	assert_true(queue_control(b->queue, words, 2, NULL, &out));
	for (const char *at = buf_cstr(&out); (at = strstr(at, "\"running\"")) != NULL; at++)
		n++;
	buf_end(&out);
	return n;
}

/* A reload that allows more of a destination acts at once, not when one of its deliveries ends: here none does. */
static void test_reload_allows_more(void **state)
{
	struct bench b;
	int fd;
	bench_open(&b, SCRIPT("X"));
	b.edge->relay_port = dead_port(&fd);
	assert_int_equal(listen(fd, 8), 0); /* who connects hears nothing */
	queue_again(&b);
	set_body(&b, 100);
	for (int i = 0; i < 3; i++)
		put_and_wait(&b, "s@far.example", TO(to("bob@[127.0.0.1]")));
	WAIT_FOR(&b, running(&b) == 1);
	loop_step(b.loop, 20);
	assert_int_equal(running(&b), 1);
	b.edge->queue_concurrency = 2;
	queue_reload(b.queue, b.conf);
	WAIT_FOR(&b, running(&b) == 2);
	assert_int_equal(queue_recipients(b.queue), 3);
	close(fd);
	bench_close(&b);
}

static void test_drain(void **state)
{
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "MAIL FROM") == 1);
	queue_drain(b.queue, on_drained, &b);
	put_and_wait(&b, "", TO(to("bob@x.example")));
	WAIT_FOR(&b, b.drained);
	assert_int_equal(queue_recipients(b.queue), 1);
	assert_int_equal(seen(&b, "}"), 1);
	bench_close(&b);
}

/* The end of a message is in the log, its own records are not marked yet, and the process dies. Two hours later the end is
 * forgotten: the message must not come to life again. */
static void test_end_stays(void **state)
{
	static const size_t sizes[] = { 100, SPOOL_INLINE_MAX + 1 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bench b;
		open_late(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, "S 452 4.2.2 full",
				  MAIL("", "alice"), GO, DONE));
		set_body(&b, sizes[i]);
		put_and_wait(&b, "", TO(to("alice@x.example")));
		WAIT_FOR(&b, listed(&b, "\"attempts\":1,"));
		WAIT_FOR(&b, (retry(&b), EMPTY(&b)));
		queue_again(&b);
		clock_fake(clock_mono_ms(), clock_wall_us());
		for (int k = 0; k < 200; k++) {
			clock_fake_advance(36 * 1000);
			loop_step(b.loop, 1);
		}
		queue_again(&b);
		assert_true(EMPTY(&b));
		clock_fake_off();
		bench_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delivered),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_deferred),
		cmocka_unit_test(test_retry),
		cmocka_unit_test(test_store_away),
		cmocka_unit_test(test_progress_is_kept),
		cmocka_unit_test(test_bounced),
		cmocka_unit_test(test_bounced_once),
		cmocka_unit_test(test_bounce_of_commit),
		cmocka_unit_test(test_not_bounced),
		cmocka_unit_test(test_bounce_to_rewritten),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_user_gone),
		cmocka_unit_test(test_fair),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_renamed),
		cmocka_unit_test(test_urgent_first),
		cmocka_unit_test(test_nobody_starves),
		cmocka_unit_test(test_wait_by_priority),
		cmocka_unit_test(test_reload_allows_more),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_end_stays),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
