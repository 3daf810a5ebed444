/* test_spool_withdraw.c - a question whose time is over is taken back: what its client was told to send again is not
 * delivered behind its back, and what the queue vouches for after all is not lost. This program's fdatasync() stands before
 * libc's. */
#define NO_SYNC false
#include "tests/unit/edge/queue_bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>

enum { SHORT_MS = 150 };

enum disk { GOOD, STANDS, FAILS };
static int disk;
static int spared; /* calls that are good while it stands */

/* Called from the log's flusher, which has nothing else to do. */
int fdatasync(int fd)
{
	int (*real)(int);
	*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	if (__atomic_load_n(&spared, __ATOMIC_SEQ_CST) > 0) {
		__atomic_sub_fetch(&spared, 1, __ATOMIC_SEQ_CST);
		return real(fd);
	}
	while (__atomic_load_n(&disk, __ATOMIC_SEQ_CST) == STANDS)
		poll(NULL, 0, 1);
	if (__atomic_load_n(&disk, __ATOMIC_SEQ_CST) == FAILS) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}

static void set_disk(enum disk to)
{
	__atomic_store_n(&disk, (int)to, __ATOMIC_SEQ_CST);
}

static void open_here(struct bench *b)
{
	static const char *const away[] = { "S 421 no", "X", "S 421 no", "X", "S 421 no", "X",
		NULL };
	open_late(b, away);
	b->deadline_ms = SHORT_MS;
}

static struct put *put_one(struct bench *b, struct ident id)
{
	return put(b, id, "s@far.example", TO(to("alice@x.example")));
}

/* Of the old id nobody says that it is durable, not even after a restart; a new one is taken. */
static void check_gone(struct bench *b, struct ident id)
{
	for (int i = 0; i < 2; i++) {
		WAIT_FOR(b, queue_spool(b->queue) != NULL && !spool_link_asks(b->link, id));
		assert_int_equal(queue_recipients(b->queue), 0);
		struct put *p = put_one(b, id);
		WAIT_FOR(b, p->answered);
		assert_int_equal(p->err, ERR_NO_SPACE);
		queue_again(b);
	}
	put_and_wait(b, "s@far.example", TO(to("alice@x.example")));
	assert_int_equal(queue_recipients(b->queue), 1);
	bench_close(b);
}

/* The disk stands still until the client has its answer, or has gone. */
static void test_disk_stands(void **state)
{
	for (int cancelled = 0; cancelled < 2; cancelled++) {
		struct bench b;
		struct ident id = ident_new();
		open_here(&b);
		set_disk(STANDS);
		struct put *p = put_one(&b, id);
		WAIT_FOR(&b, queue_recipients(b.queue) == 1);
		if (cancelled)
			ticket_cancel(&p->ticket);
		WAIT_FOR(&b, (cancelled || p->answered) && queue_recipients(b.queue) == 0);
		assert_true(cancelled || p->err == ERR_TIMEOUT);
		set_disk(GOOD);
		check_gone(&b, id);
	}
}

/* The queue had it durable, but the answer was lost: the question is asked again, and its time ends. */
static void test_durable_all_the_same(void **state)
{
	struct bench b;
	open_here(&b);
	__atomic_store_n(&spared, 1, __ATOMIC_SEQ_CST);
	set_disk(STANDS);
	struct put *p = put_one(&b, ident_new());
	WAIT_FOR(&b, queue_recipients(b.queue) == 1);
	spool_link_reset(b.link, "test");
	uint64_t until = clock_mono_ms() + 2 * SHORT_MS;
	while (clock_mono_ms() < until)
		loop_step(b.loop, 10);
	assert_false(p->answered);
	set_disk(GOOD);
	WAIT_FOR(&b, p->answered);
	assert_int_equal(p->err, ERR_OK);
	assert_int_equal(queue_recipients(b.queue), 1);
	bench_close(&b);
}

/* The disk fails while it stands in the log, and the spool cannot be opened when the question is asked again. */
static void test_spool_away(void **state)
{
	struct bench b;
	struct ident id = ident_new();
	char aside[200];
	open_here(&b);
	b.deadline_ms = WAIT_MS;
	snprintf(aside, sizeof aside, "%s-aside", b.edge->spool);
	set_disk(STANDS);
	struct put *p = put_one(&b, id);
	WAIT_FOR(&b, queue_recipients(b.queue) == 1);
	assert_int_equal(rename(b.edge->spool, aside), 0);
	FILE *f = fopen(b.edge->spool, "w");
	assert_non_null(f);
	fclose(f);
	set_disk(FAILS);
	WAIT_FOR(&b, p->answered);
	assert_int_equal(p->err, ERR_NO_SPACE);
	assert_null(queue_spool(b.queue));
	set_disk(GOOD);
	assert_int_equal(unlink(b.edge->spool), 0);
	assert_int_equal(rename(aside, b.edge->spool), 0);
	check_gone(&b, id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_stands),
		cmocka_unit_test(test_durable_all_the_same),
		cmocka_unit_test(test_spool_away),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
