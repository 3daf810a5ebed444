/* test_copies_later.c - what was spooled while the other host was away or full gets its copy when that is back. */
#include "tests/unit/edge/copies_pair.h"

static void later_open(struct bench *b, struct peer *p)
{
	pair_open(b, p);
	b->edge->copy_loss = EDGE_COPY_ACCEPT;
	b->edge->copy_timeout = 5000;
	WAIT_FOR(b, says(p, "\"here\""));
}

static void spool_some(struct bench *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		set_body(b, i % 3 == 0 ? 600 * 1000 : 1000);
		put_and_wait(b, "s@far.example", TO(to("alice@x.example"), to("bob@x.example")));
	}
}

/* Some have a copy from before, some have not; the owner burns, and everything is adopted once. */
static void test_back(void **state)
{
	struct bench b;
	struct peer p;
	later_open(&b, &p);
	spool_some(&b, 2);
	assert_true(says(&p, HOLDS(2, 0)));
	peer_down(&p);
	spool_some(&b, 4);
	uint64_t before = metric_get(&queue_metrics[QUEUE_M_COPIED_LATER]);
	peer_up(&b, &p);
	WAIT_FOR(&b, says(&p, HOLDS(6, 0)));
	WAIT_FOR(&b, metric_get(&queue_metrics[QUEUE_M_COPIED_LATER]) == before + 4);
	owner_gone(&b, &p);
	WAIT_FOR(&b, says(&p, "\"away\""));
	assert_true(adopt(&p));
	WAIT_FOR(&b, says(&p, HOLDS(0, 6)));
	assert_int_equal(queue_recipients(p.queue), 12);
	queue_up(&b);
	owner_up(&b, &p);
	WAIT_FOR(&b, EMPTY(&b) && says(&p, HOLDS(0, 0)));
	assert_int_equal(queue_recipients(p.queue), 12);
	pair_close(&b, &p);
}

/* Those of whom nothing is owed any more are not delivered to again. */
static void test_present_fates(void **state)
{
	struct bench b;
	struct peer p;
	later_open(&b, &p);
	peer_down(&p);
	spool_some(&b, 3);
	WAIT_FOR(&b,
	    order(b.queue, "delete", "recipient=bob@x.example") && queue_recipients(b.queue) == 3);
	WAIT_FOR(&b, order(b.queue, "hold", "all"));
	peer_up(&b, &p);
	WAIT_FOR(&b, says(&p, HOLDS(3, 0)));
	owner_gone(&b, &p);
	WAIT_FOR(&b, says(&p, "\"away\""));
	assert_true(adopt(&p));
	WAIT_FOR(&b, says(&p, HOLDS(0, 3)));
	assert_int_equal(queue_recipients(p.queue), 3);
	assert_false(order(p.queue, "delete", "recipient=bob@x.example"));
	assert_true(order(p.queue, "release", "state=held"));
	pair_close(&b, &p);
}

/* No room at first; when there is some again everything gets its copy without the link being made anew. */
static void test_full(void **state)
{
	struct bench b;
	struct peer p;
	later_open(&b, &p);
	p.edge->copy_bytes_max = 100 * 1000;
	spool_some(&b, 4);
	assert_true(says(&p, HOLDS(2, 0)));
	p.edge->copy_bytes_max = 100 * 1000 * 1000;
	copier_reload(p.copier, b.conf); /* begins at once, whatever is under way */
	copier_reload(p.copier, b.conf);
	WAIT_FOR(&b, says(&p, HOLDS(4, 0)));
	WAIT_FOR(&b, delete_all(&b) && says(&p, HOLDS(0, 0)));
	pair_close(&b, &p);
}

/* Messages end while their copies are under way, and links break: no copy is left behind. */
static void test_ended_meanwhile(void **state)
{
	for (int rounds = 0; rounds < 24; rounds++) {
		struct bench b;
		struct peer p;
		later_open(&b, &p);
		peer_down(&p);
		spool_some(&b, 6);
		peer_up(&b, &p);
		WAIT_FOR(&b, says(&p, "\"here\""));
		for (int i = 0; i < rounds; i++)
			loop_step(b.loop, 5);
		if (rounds % 4 == 3) {
			peer_down(&p);
			peer_up(&b, &p);
		}
		WAIT_FOR(&b, delete_all(&b));
		WAIT_FOR(&b, says(&p, "\"here\"") && says(&p, HOLDS(0, 0)));
		for (int i = 0; i < 10; i++)
			loop_step(b.loop, 10);
		WAIT_FOR(&b, says(&p, HOLDS(0, 0))); /* one was on its way, or is left behind */
		pair_close(&b, &p);
	}
}

/* The owner's spool is opened anew: what has a copy is known again, and the rest gets one. */
static void test_spool_anew(void **state)
{
	struct bench b;
	struct peer p;
	later_open(&b, &p);
	spool_some(&b, 2);
	peer_down(&p);
	spool_some(&b, 3);
	queue_spool_broke(b.queue, ERR_IO);
	loop_step(b.loop, 10);
	peer_up(&b, &p);
	WAIT_FOR(&b, says(&p, HOLDS(5, 0)));
	queue_spool_broke(b.queue, ERR_IO);
	WAIT_FOR(&b, !says(&p, "\"here\""));
	WAIT_FOR(&b, says(&p, "\"here\"") && says(&p, HOLDS(5, 0)));
	WAIT_FOR(&b, delete_all(&b) && says(&p, HOLDS(0, 0)));
	pair_close(&b, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_present_fates),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_ended_meanwhile),
		cmocka_unit_test(test_spool_anew),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
