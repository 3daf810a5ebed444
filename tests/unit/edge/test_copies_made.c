/* test_copies_made.c - copies of what the host itself makes its own: messages that it adopts, and reports of TLS. */
#include "tests/unit/edge/copies_pair.h"

#include "edge/tls_mail.h"

/* A third host, where the second one leaves copies: it takes them, or not. */
struct third {
	struct peer *peer;
	err_t answer;
	unsigned asked, dropped, bytes;
};

struct third_ticket {
	struct ticket ticket; /* first */
	struct soon soon;
	err_t answer;
	copied_fn *fn;
	void *arg;
};

static void third_cancel(struct ticket *t)
{
	struct third_ticket *k = (struct third_ticket *)t;
	soon_clear(&k->soon);
	mem_free(k);
}

static void third_answer(void *arg)
{
	struct third_ticket *k = arg;
	copied_fn *fn = k->fn;
	void *fn_arg = k->arg;
	err_t err = k->answer;
	mem_free(k);
	fn(fn_arg, err);
}

/* The message is nobody's yet. */
static struct ticket *third_ask(void *arg, const struct spool_message *m,
    const struct copy_body *body, copied_fn *fn, void *fn_arg)
{
	struct third *t = arg;
	struct third_ticket *k = MEM_NEW(struct third_ticket);
	assert_false(queue_owes(t->peer->queue, m->id));
	assert_true(body->chunk_count > 0 || body->bytes.n == m->body_bytes);
	*k =
	    (struct third_ticket){ { third_cancel }, .answer = t->answer, .fn = fn, .arg = fn_arg };
	t->asked++;
	t->bytes += (unsigned)m->body_bytes;
	soon_init(&k->soon, third_answer, k);
	soon_set(t->peer->loop, &k->soon);
	return &k->ticket;
}

static void third_drop(void *arg, struct ident id)
{
	((struct third *)arg)->dropped++;
}

/* What is adopted has a copy again before it is this host's, or is adopted without one. */
static void test_adopted_has_a_copy(void **state)
{
	static const err_t answers_of_third[] = { ERR_OK, ERR_NO_COPY };
	for (size_t i = 0; i < COUNT_OF(answers_of_third); i++) {
		struct bench b;
		struct peer p;
		pair_open(&b, &p);
		struct third t = { .peer = &p, .answer = answers_of_third[i] };
		WAIT_FOR(&b, says(&p, "\"here\""));
		unsigned bytes = 0;
		for (int k = 0; k < 6; k++) {
			set_body(&b, k % 3 == 0 ? 600 * 1000 : 1000);
			bytes += (unsigned)buf_len(&b.body);
			put_and_wait(&b, "s@far.example", TO(to("alice@x.example")));
		}
		owner_gone(&b, &p);
		WAIT_FOR(&b, says(&p, "\"away\""));
		queue_copy_to(p.queue, &(struct spool_copier){ third_ask, third_drop, &t });
		assert_true(adopt(&p));
		WAIT_FOR(&b, says(&p, HOLDS(0, 6)));
		assert_int_equal(queue_recipients(p.queue), 6);
		assert_int_equal(t.asked, 6);
		assert_int_equal(t.bytes, bytes);
		assert_int_equal(t.dropped, 0);
		queue_copy_to(p.queue, &(struct spool_copier){ 0 });
		queue_up(&b);
		owner_up(&b, &p);
		WAIT_FOR(&b, EMPTY(&b) && says(&p, HOLDS(0, 0)));
		pair_close(&b, &p);
	}
}

static struct {
	bool answered;
	const char *why;
} mailed;

static void on_mailed(void *arg, const char *why)
{
	mailed.answered = true;
	mailed.why = why;
}

static void mail_report(struct bench *b)
{
	const struct tlsrpt_mail m = { "s@[127.0.0.1]", NULL, buf_span(&b->body) };
	mailed.answered = false;
	assert_non_null(tls_mail_start(b->queue, &m, on_mailed, NULL));
}

/* A report of TLS has its copy, is not sent where copy_loss wants one and there is none, and knows when the spool is closed. */
static void test_report_of_tls(void **state)
{
	static const size_t sizes[] = { 1000, 300 * 1000 };
	struct bench b;
	struct peer p;
	int nobody;
	reports_open(&b, &p, &nobody);
	b.edge->copy_loss = EDGE_COPY_REFUSE;
	b.edge->copy_timeout = WAIT_MS;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		set_body(&b, sizes[i]);
		mail_report(&b);
		WAIT_FOR(&b, mailed.answered);
		assert_null(mailed.why);
		assert_int_equal(queue_recipients(b.queue), 1);
		assert_true(says(&p, HOLDS(1, 0)));
		WAIT_FOR(&b, delete_all(&b) && says(&p, HOLDS(0, 0)));
	}
	mail_report(&b);
	queue_spool_broke(b.queue, ERR_IO);
	WAIT_FOR(&b, mailed.answered && queue_spool(b.queue) != NULL);
	assert_true(mailed.why != NULL && EMPTY(&b));
	peer_down(&p);
	b.edge->copy_timeout = 300;
	mail_report(&b);
	WAIT_FOR(&b, mailed.answered);
	assert_true(mailed.why != NULL && EMPTY(&b));
	peer_up(&b, &p);
	close(nobody);
	pair_close(&b, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adopted_has_a_copy),
		cmocka_unit_test(test_report_of_tls),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
