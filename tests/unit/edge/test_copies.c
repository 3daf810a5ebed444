/* test_copies.c - two queue processes in one loop: the owner's and the one that keeps its copies. */
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/edge/queue_bench.h"

#include "edge/copier.h"
#include "edge/copies.h"
#include "edge/queue_tables.h"

#define SECRET "both know it"

/* The other host; its clients are owners and strangers. */
struct peer {
	struct conf *conf;
	struct edge_conf *edge;
	struct queue *queue;
	struct copies *copies;
	char spool[100], path[100];
	struct conf_address listens;
	int fd;
	struct copier *copier; /* of the owner */
};

static void peer_up(struct bench *b, struct peer *p)
{
	p->queue = queue_new(&(struct queue_opts){ .loop = b->loop,
	    .dns = b->dns,
	    .directory = b->directory,
	    .conf = p->conf,
	    .unsafe_no_sync = true });
	p->copies = copies_new(b->loop, p->queue, p->conf);
	assert_non_null(p->copies);
	copies_listen(p->copies, p->fd);
}

static void peer_down(struct peer *p)
{
	copies_free(&p->copies);
	queue_free(&p->queue);
}

static void owner_up(struct bench *b, struct peer *p)
{
	b->edge->copy_to = (struct conf_hostport){ p->path, 1 };
	b->edge->copy_secret.bytes = SPAN(SECRET);
	p->copier = copier_new(b->loop, b->dns, b->queue, b->serve, b->conf);
	assert_non_null(p->copier);
}

static void owner_gone(struct bench *b, struct peer *p)
{
	copier_free(&p->copier);
	queue_gone(b);
}

static void pair_open(struct bench *b, struct peer *p)
{
	static unsigned serial;
	open_late(b, SCRIPT("S 421 no", "X", "S 421 no", "X", "S 421 no", "X", "S 421 no", "X"));
	*p = (struct peer){ .conf = load() };
	p->edge = (struct edge_conf *)(uintptr_t)conf_section(p->conf, &edge_block);
	snprintf(p->spool, sizeof p->spool, "%s/peer%u", dir, serial);
	snprintf(p->path, sizeof p->path, "%s/copies%u.sock", dir, serial++);
	p->edge->spool = p->spool;
	p->edge->queue_retry_first = p->edge->queue_retry_max = LATE_MS;
	p->listens = (struct conf_address){ .unix_path = p->path };
	p->edge->copy_listen = (struct conf_addresses){ &p->listens, 1 }; /* we open it */
	p->edge->copy_secret.bytes = SPAN(SECRET);
	p->fd = listen_open_unix(p->path, 0600);
	peer_up(b, p);
	owner_up(b, p);
}

static void pair_close(struct bench *b, struct peer *p)
{
	copier_free(&p->copier);
	peer_down(p);
	p->edge->copy_listen = (struct conf_addresses){ 0 };
	p->edge->copy_secret.bytes = b->edge->copy_secret.bytes = SPAN_NONE;
	b->edge->copy_to.host = NULL;
	conf_unref(&p->conf);
	close(p->fd);
	bench_close(b);
}

static bool says(struct peer *p, const char *text)
{
	static const char *const words[] = { "copies" };
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(p->copies, words, 1, &out));
	bool found = strstr(buf_cstr(&out), text) != NULL;
	buf_end(&out);
	return found;
}

static bool adopt(struct peer *p)
{
	static const char *const words[] = { "adopt", "edge.example" };
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(p->copies, words, 2, &out));
	bool ok = strstr(buf_cstr(&out), "error") == NULL;
	buf_end(&out);
	return ok;
}

#define HOLDS(held, adopted) "\"copies\":" #held ",\"adopted\":" #adopted

static bool delete_all(struct bench *b)
{
	static const char *const all[] = { "delete", "all" };
	struct buf out = BUF_INIT(1000);
	assert_true(queue_control(b->queue, all, 2, NULL, &out));
	buf_end(&out);
	return EMPTY(b);
}

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
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_links_break),
		cmocka_unit_test(test_strangers),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
