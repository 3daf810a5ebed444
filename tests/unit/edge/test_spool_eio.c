/* test_spool_eio.c - the disk fails with EIO, when it is written to or when it is to make bytes durable: nobody is told that a
 * message is safe before it is, nothing is there twice, and all goes on by itself when the disk works again. This program's
 * fdatasync() and pwritev() stand before libc's. */
#define NO_SYNC false
#include "tests/unit/edge/queue_bench.h"

#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>

#define REAL(type, name, ...)                                                                      \
	type (*real)(__VA_ARGS__);                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, name)

static int syncs_fail, writes_fail; /* -1: all of them */
static unsigned syncs_good, failed_n;

/* fdatasync() is called from the log's flusher, too. */
static bool fails(int *left)
{
	int n = __atomic_load_n(left, __ATOMIC_SEQ_CST);
	if (n > 0)
		__atomic_sub_fetch(left, 1, __ATOMIC_SEQ_CST);
	if (n != 0)
		__atomic_add_fetch(&failed_n, 1, __ATOMIC_SEQ_CST);
	return n != 0;
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	if (fails(&syncs_fail)) {
		errno = EIO;
		return -1;
	}
	__atomic_add_fetch(&syncs_good, 1, __ATOMIC_SEQ_CST);
	return real(fd);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	if (fails(&writes_fail)) {
		errno = EIO;
		return -1;
	}
	return real(fd, iov, n, at);
}

static void fail_next(int *what, int n)
{
	__atomic_store_n(&failed_n, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(what, n, __ATOMIC_SEQ_CST);
}

static unsigned failed(void)
{
	return __atomic_load_n(&failed_n, __ATOMIC_SEQ_CST);
}

static struct put *put_one(struct bench *b)
{
	return put(b, ident_new(), "s@far.example", TO(to("alice@x.example")));
}

/* It fails once: the spool is opened anew, what it cannot vouch for is written again, and the client gets its answer. */
static void test_once(void **state)
{
	int *const whats[] = { &syncs_fail, &writes_fail };
	for (size_t i = 0; i < COUNT_OF(whats); i++) {
		struct bench b;
		open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X", "S 421 no", "X"));
		struct put *first = put_one(&b);
		WAIT_FOR(&b, first->answered);
		assert_int_equal(first->err, ERR_OK);
		fail_next(whats[i], 1);
		struct put *p = put_one(&b);
		WAIT_FOR(&b, p->answered);
		assert_int_equal(failed(), 1);
		assert_true(i > 0 || p->err == ERR_OK); /* asked again over a new link */
		size_t there = p->err == ERR_OK ? 2 : 1;
		WAIT_FOR(&b, queue_spool(b.queue) != NULL && queue_recipients(b.queue) == there);
		struct put *next = put_one(&b);
		WAIT_FOR(&b, next->answered);
		assert_int_equal(next->err, ERR_OK);
		queue_again(&b);
		assert_int_equal(queue_recipients(b.queue), there + 1);
		bench_close(&b);
	}
}

/* It goes on failing: no answer says durable until a sync went well behind it. */
static void test_for_a_while(void **state)
{
	struct bench b;
	open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X"));
	fail_next(&syncs_fail, -1);
	struct put *p = put_one(&b);
	WAIT_FOR(&b, failed() >= 3 || p->answered);
	assert_false(p->answered && p->err == ERR_OK);
	unsigned before = __atomic_load_n(&syncs_good, __ATOMIC_SEQ_CST);
	__atomic_store_n(&syncs_fail, 0, __ATOMIC_SEQ_CST);
	WAIT_FOR(&b, queue_spool(b.queue) != NULL);
	struct put *next = put_one(&b);
	WAIT_FOR(&b, next->answered && p->answered);
	assert_int_equal(next->err, ERR_OK);
	assert_true(__atomic_load_n(&syncs_good, __ATOMIC_SEQ_CST) > before);
	size_t there = queue_recipients(b.queue);
	assert_in_range(there, 1 + (p->err == ERR_OK), 2);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), there);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_for_a_while),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
