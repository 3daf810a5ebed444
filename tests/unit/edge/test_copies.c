/* test_copies.c - two queue processes in one loop: the owner's and the one that keeps its copies. */
#include "tests/unit/edge/group_mail.h"

#include "tests/unit/edge/copies_pair.h"

/* Held, whatever becomes of the process that holds it; given up with the message's end. */
static void test_held_and_given_up(void **state)
{
	struct bench b;
	struct peer p;
	pair_open(&b, &p);
	int nobody;
	b.edge->relay_port = dead_port(&nobody);
	WAIT_FOR(&b, says(&p, "\"here\""));
	put_and_wait(&b, "s@far.example", TO(to("somebody@[127.0.0.1]")));
	set_body(&b, 600 * 1000);
	put_and_wait(&b, "s@far.example", TO(to("somebody@[127.0.0.1]")));
	assert_true(says(&p, HOLDS(2, 0)));
	peer_down(&p);
	peer_up(&b, &p);
	WAIT_FOR(&b, says(&p, "\"here\""));
	assert_true(says(&p, HOLDS(2, 0)));
	assert_false(adopt(&p));      /* its owner is here */
	WAIT_FOR(&b, delete_all(&b)); /* a delivery may be under way */
	WAIT_FOR(&b, says(&p, HOLDS(0, 0)));
	peer_down(&p);
	peer_up(&b, &p);
	WAIT_FOR(&b, says(&p, HOLDS(0, 0))); /* if not by its log, then by its owner's word */
	close(nobody);
	pair_close(&b, &p);
}

/* The owner is gone, and comes back with its log: what was adopted is not its own any more. */
static void test_adopted(void **state)
{
	struct bench b;
	struct peer p;
	pair_open(&b, &p);
	WAIT_FOR(&b, says(&p, "\"here\""));
	for (int i = 0; i < 6; i++) {
		set_body(&b, i % 3 == 0 ? 600 * 1000 : 1000);
		put_and_wait(&b, "s@far.example", TO(to("alice@x.example"), to("bob@x.example")));
	}
	owner_gone(&b, &p);
	WAIT_FOR(&b, says(&p, "\"away\""));
	assert_true(adopt(&p));
	WAIT_FOR(&b, says(&p, HOLDS(0, 6)));
	assert_int_equal(queue_recipients(p.queue), 12);
	peer_down(&p); /* it remembers */
	peer_up(&b, &p);
	assert_int_equal(queue_recipients(p.queue), 12);
	assert_true(says(&p, HOLDS(0, 6)));
	queue_up(&b);
	assert_int_equal(queue_recipients(b.queue), 12);
	owner_up(&b, &p);
	WAIT_FOR(&b, EMPTY(&b) && says(&p, HOLDS(0, 0)));
	assert_int_equal(queue_recipients(p.queue), 12);
	pair_close(&b, &p);
}

/* The owner is gone so many rounds behind the answer: the other host has the mail's copy, or those of some parts with it, or
 * of all; adopted, every part is there once. The owner comes back with its log, and has nothing of it any more. */
static void test_parts_adopted(void **state)
{
	bool whole = false, between = false;
	for (int rounds = 0; rounds < 40; rounds++) {
		struct bench b;
		struct peer p;
		struct group_mail g;
		pair_open(&b, &p);
		WAIT_FOR(&b, says(&p, "\"here\""));
		set_body(&b, rounds % 2 == 0 ? 1000 : 300 * 1000);
		mail_ask(&g, &b);
		WAIT_FOR(&b, g.open == 0);
		assert_int_equal(g.err[0], ERR_OK);
		for (int i = 0; i < rounds; i++)
			loop_step(b.loop, 0);
		if (rounds >= 38)
			WAIT_FOR(&b, says(&p, HOLDS(2, 0)) && queue_recipients(b.queue) == 3);
		whole = whole || says(&p, HOLDS(1, 0));
		between = between || (queue_owes(b.queue, g.mail->id) && !says(&p, HOLDS(1, 0)));
		owner_gone(&b, &p);
		WAIT_FOR(&b, says(&p, "\"away\""));
		assert_true(adopt(&p));
		WAIT_FOR(&b, queue_knows(p.queue, g.part[0]->id) &&
				 queue_knows(p.queue, g.part[1]->id) &&
				 queue_recipients(p.queue) == 3);
		queue_up(&b);
		owner_up(&b, &p);
		WAIT_FOR(&b, EMPTY(&b) && says(&p, HOLDS(0, 0)));
		assert_int_equal(queue_recipients(p.queue), 3);
		mail_end(&g);
		pair_close(&b, &p);
	}
	assert_true(whole && between);
}

/* No room, or nobody there: what copy_loss says. */
static void test_loss(void **state)
{
	struct bench b;
	struct peer p;
	pair_open(&b, &p);
	b.edge->copy_timeout = 300;
	p.edge->copy_bytes_max = 100 * 1000;
	WAIT_FOR(&b, says(&p, "\"here\""));
	set_body(&b, 200 * 1000);
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	struct put *q = put(&b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, q->answered);
	assert_int_not_equal(q->err, ERR_OK);
	b.edge->copy_loss = EDGE_COPY_ACCEPT;
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	assert_true(says(&p, HOLDS(0, 0)));
	peer_down(&p);
	put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	q = put(&b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(&b, q->answered);
	assert_int_not_equal(q->err, ERR_OK);
	assert_int_equal(queue_recipients(b.queue), 2);
	peer_up(&b, &p);
	pair_close(&b, &p);
}

/* Links of owners break at any moment; every message is there once, here and there. */
static void test_links_break(void **state)
{
	struct bench b;
	struct peer p;
	pair_open(&b, &p);
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	set_body(&b, 300 * 1000);
	for (int i = 0; i < PUTS; i++)
		put(&b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 2 + 3 * round; i++)
			loop_step(b.loop, 5);
		peer_down(&p);
		peer_up(&b, &p);
	}
	for (int i = 0; i < PUTS; i++)
		WAIT_FOR(&b, b.puts[i].answered);
	char held[40];
	snprintf(held, sizeof held, "\"copies\":%zu,\"adopted\":0", queue_recipients(b.queue));
	WAIT_FOR(&b, says(&p, held));
	pair_close(&b, &p);
}

/* ---- reports, which the queue writes itself ----------------------------------------------------- */

/* Recipients of both queues. */
static bool owe(struct bench *b, size_t owner, size_t n, struct peer *p)
{
	return (b->queue == NULL || queue_recipients(b->queue) == owner) &&
	       queue_recipients(p->queue) == n;
}

/* One of two recipients is refused: copies of message and report. Where both are adopted the same end makes no other report,
 * and when the last recipient has its end, too, one of that. */
static void test_report_of_some(void **state)
{
	struct bench b;
	struct peer p;
	int nobody;
	reports_open(&b, &p, &nobody);
	put_and_wait(&b, "s@[127.0.0.1]", TO(to(BAD), to(LATE)));
	WAIT_FOR(&b, order(b.queue, "bounce", "recipient=" BAD));
	WAIT_FOR(&b, says(&p, HOLDS(2, 0)) && owe(&b, 2, 0, &p));
	owner_gone(&b, &p);
	WAIT_FOR(&b, says(&p, "\"away\""));
	assert_true(adopt(&p));
	WAIT_FOR(&b, says(&p, HOLDS(0, 2)) && owe(&b, 0, 3, &p));
	uint64_t told = metric_get(&queue_metrics[QUEUE_M_BOUNCED]);
	WAIT_FOR(&b, order(p.queue, "bounce", "recipient=" BAD));
	WAIT_FOR(&b, metric_get(&queue_metrics[QUEUE_M_BOUNCED]) == told + 1);
	assert_true(owe(&b, 0, 2, &p)); /* it is known */
	peer_down(&p);                  /* and this stands in its log */
	peer_up(&b, &p);
	WAIT_FOR(&b, queue_recipients(p.queue) == 2);
	WAIT_FOR(&b, order(p.queue, "bounce", "recipient=" LATE));
	assert_true(owe(&b, 0, 1, &p));
	WAIT_FOR(&b, owe(&b, 0, 2, &p));
	queue_up(&b);
	owner_up(&b, &p);
	WAIT_FOR(&b, EMPTY(&b) && says(&p, HOLDS(0, 0)));
	close(nobody);
	pair_close(&b, &p);
}

static size_t held(struct peer *p)
{
	static const char *const words[] = { "copies" };
	static const char member[] = "\"copies\":";
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(p->copies, words, 1, &out));
	const char *at = strstr(buf_cstr(&out), member);
	size_t n = at != NULL ? strtoul(at + sizeof member - 1, NULL, 10) : 0;
	buf_end(&out);
	return n;
}

/* At each moment the other host has a copy of the message or of its report. */
static void test_report_has_its_copy_first(void **state)
{
	struct bench b;
	struct peer p;
	int nobody;
	reports_open(&b, &p, &nobody);
	set_body(&b, 600 * 1000); /* and the report brings it back */
	put_and_wait(&b, "s@[127.0.0.1]", TO(to(BAD)));
	WAIT_FOR(&b, order(b.queue, "bounce", "recipient=" BAD));
	size_t most = 1;
	uint64_t until = clock_mono_ms() + WAIT_MS;
	while (most == 1 || held(&p) == 2) {
		assert_true(held(&p) > 0 && clock_mono_ms() < until);
		most = held(&p) > most ? held(&p) : most;
		loop_step(b.loop, 10);
	}
	assert_true(says(&p, HOLDS(1, 0)) && owe(&b, 1, 0, &p));
	close(nobody);
	pair_close(&b, &p);
}

/* No copy can be made: the report is written alone, or it waits, and its message with it. */
static void test_report_loss(void **state)
{
	struct bench b;
	struct peer p;
	int nobody;
	reports_open(&b, &p, &nobody);
	set_body(&b, 200 * 1000); /* comes back with the report */
	put_and_wait(&b, "s@[127.0.0.1]", TO(to(BAD)));
	put_and_wait(&b, "s@[127.0.0.1]", TO(to(LATE)));
	peer_down(&p);
	WAIT_FOR(&b, order(b.queue, "bounce", "recipient=" BAD));
	WAIT_FOR(&b, queue_recipients(b.queue) == 2);
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	uint64_t refused = metric_get(&queue_metrics[QUEUE_M_BOUNCED]);
	WAIT_FOR(&b, order(b.queue, "bounce", "recipient=" LATE));
	assert_int_equal(queue_recipients(b.queue), 1);
	uint64_t until = clock_mono_ms() + 2 * b.edge->copy_timeout;
	while (clock_mono_ms() < until)
		loop_step(b.loop, 10);
	assert_int_equal(metric_get(&queue_metrics[QUEUE_M_BOUNCED]), refused);
	peer_up(&b, &p);
	WAIT_FOR(&b, queue_recipients(b.queue) == 2 && says(&p, HOLDS(2, 0)));
	close(nobody);
	pair_close(&b, &p);
}

/* More reports than are written at a time, while the link breaks again and again: each is there once, and has its copy. */
static void test_reports_and_links_break(void **state)
{
	enum { ROUNDS = 4, ALL = ROUNDS * PUTS };
	struct bench b;
	struct peer p;
	int nobody;
	reports_open(&b, &p, &nobody);
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	b.edge->copy_timeout = WAIT_MS; /* also on a machine that is busy */
	for (int i = 0; i < ROUNDS; i++) {
		set_body(&b, i == 0 ? 100 * 1000 : 1000);
		for (int k = 0; k < PUTS; k++)
			put(&b, ident_new(), "s@[127.0.0.1]", TO(to(BAD)));
		for (int k = 0; k < PUTS; k++)
			WAIT_FOR(&b, b.puts[k].answered);
		memset(b.puts, 0, sizeof b.puts);
	}
	assert_int_equal(queue_recipients(b.queue), ALL);
	WAIT_FOR(&b, order(b.queue, "bounce", "recipient=" BAD));
	for (int round = 0; round < 8; round++) {
		for (int i = 0; i < 1 + round; i++)
			loop_step(b.loop, 5);
		peer_down(&p);
		peer_up(&b, &p);
	}
	WAIT_FOR(&b, queue_recipients(b.queue) == ALL && says(&p, HOLDS(160, 0)));
	close(nobody);
	pair_close(&b, &p);
}

static int dial(struct peer *p)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(a.sun_path, sizeof a.sun_path, "%s", p->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* Without the secret, out of turn, cut off anywhere, with names that are no folders: the link ends, or waits. */
static void test_strangers(void **state)
{
	struct bench b;
	struct peer p;
	pair_open(&b, &p);
	struct spool_hello bad[] = { { SPAN("other.example"), SPAN("guessed"), 1 },
		{ SPAN("other.example"), SPAN_NONE, 1 }, { SPAN("../up"), SPAN(SECRET), 1 },
		{ SPAN("a/b"), SPAN(SECRET), 1 }, { SPAN(".hidden"), SPAN(SECRET), 1 } };
	for (size_t i = 0; i <= COUNT_OF(bad) + 1; i++) {
		struct buf frame = BUF_INIT(5000);
		char byte;
		if (i < COUNT_OF(bad))
			spool_hello_put(&frame, &bad[i]);
		else if (i == COUNT_OF(bad))
			spool_frame_put(&frame, SPOOL_FRAME_PUT, SPAN("whatever"));
		else
			spool_id_put(&frame, SPOOL_FRAME_RELEASE, ident_new(), false);
		int fd = dial(&p);
		assert_int_equal(
		    send(fd, buf_cstr(&frame), buf_len(&frame), MSG_NOSIGNAL), buf_len(&frame));
		uint64_t until = clock_mono_ms() + WAIT_MS;
		while (recv(fd, &byte, 1, MSG_DONTWAIT) != 0 && clock_mono_ms() < until)
			loop_step(b.loop, 5);
		assert_true(clock_mono_ms() < until);
		close(fd);
		buf_end(&frame);
	}
	assert_false(says(&p, "other.example"));
	struct buf hello = BUF_INIT(5000);
	spool_hello_put(&hello, &(struct spool_hello){ SPAN("third.example"), SPAN(SECRET), 1 });
	for (size_t n = 0; n < buf_len(&hello); n++) {
		int fd = dial(&p);
		assert_int_equal(send(fd, buf_cstr(&hello), n, MSG_NOSIGNAL), n);
		loop_step(b.loop, 1);
		close(fd);
		loop_step(b.loop, 1);
		assert_false(says(&p, "third.example"));
	}
	buf_end(&hello);
	WAIT_FOR(&b, says(&p, "\"here\""));
	pair_close(&b, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_and_given_up),
		cmocka_unit_test(test_adopted),
		cmocka_unit_test(test_parts_adopted),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_links_break),
		cmocka_unit_test(test_report_of_some),
		cmocka_unit_test(test_report_has_its_copy_first),
		cmocka_unit_test(test_report_loss),
		cmocka_unit_test(test_reports_and_links_break),
		cmocka_unit_test(test_strangers),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
