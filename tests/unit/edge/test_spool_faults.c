/* test_spool_faults.c - disk full, no permission, a read-only disk, a torn end, a flipped byte, clocks that jump: clients are told to come
 * back, nothing is lost or sent twice, and all goes on by itself when the cause is gone. */
#include "tests/unit/edge/queue_bench.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "edge/queue_tables.h"

enum { DAY_S = 24 * 3600 };

static struct rlimit unlimited;

/* No file may become longer than this. */
static void disk_ends_at(rlim_t bytes)
{
	struct rlimit small = { bytes, unlimited.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
}

static void disk_has_room(void)
{
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
}

static const char *segment(struct bench *b, char path[200])
{
	snprintf(path, 200, "%s/00000001.seg", b->edge->spool);
	return path;
}

static off_t segment_size(struct bench *b)
{
	char path[200];
	struct stat st;
	assert_int_equal(stat(segment(b, path), &st), 0);
	return st.st_size;
}

static struct put *put_now(struct bench *b)
{
	struct put *p = put(b, ident_new(), "s@far.example", TO(to("alice@x.example")));
	WAIT_FOR(b, p->answered);
	return p;
}

/* What does not fit is refused at once, what is there stays, and the next one is taken when there is room. */
static void test_full(void **state)
{
	static const size_t sizes[] = { 3000, SPOOL_INLINE_MAX + 1 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bench b;
		open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X", "S 421 no", "X"));
		assert_int_equal(put_now(&b)->err, ERR_OK);
		set_body(&b, sizes[i]);
		disk_ends_at((rlim_t)segment_size(&b) + 2000);
		assert_int_not_equal(put_now(&b)->err, ERR_OK);
		assert_int_equal(queue_recipients(b.queue), 1);
		disk_has_room();
		assert_int_equal(put_now(&b)->err, ERR_OK);
		queue_again(&b);
		assert_int_equal(queue_recipients(b.queue), 2);
		bench_close(&b);
	}
}

/* The store has the message, and there is no room to say so: it is said later, and the store is not asked again. */
static void test_full_at_the_end(void **state)
{
	struct bench b;
	open_late(&b,
	    SCRIPT(LHLO, MAIL("", "alice"), GO, "S 452 4.2.2 full", MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 1);
	WAIT_FOR(&b, retry(&b) == 1);
	off_t before = segment_size(&b);
	disk_ends_at((rlim_t)before);
	WAIT_FOR(&b, seen(&b, "}") == 2 && EMPTY(&b));
	assert_int_equal(segment_size(&b), before);
	disk_has_room();
	WAIT_FOR(&b, segment_size(&b) > before);
	queue_again(&b);
	assert_true(EMPTY(&b));
	assert_int_equal(seen(&b, "}"), 2);
	bench_close(&b);
}

/* Nobody may write there; when that is put right, the queue comes up by itself. As root there is nothing to see. */
static void test_no_permission(void **state)
{
	struct bench b;
	char path[200];
	if (geteuid() != 0)
		skip();
	open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X"));
	assert_int_equal(put_now(&b)->err, ERR_OK);
	queue_gone(&b);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(chmod(b.edge->spool, 0777), 0);
	assert_int_equal(chmod(b.path, 0777), 0); /* the link asks, and is told no */
	assert_int_equal(seteuid(65534), 0);
	queue_up(&b); /* the segment is root's, 0600 */
	assert_null(queue_spool(b.queue));
	struct put *p = put(&b, ident_new(), "", TO(to("alice@x.example")));
	WAIT_FOR(&b, p->answered);
	assert_int_equal(p->err, ERR_NO_SPACE);
	assert_int_equal(seteuid(0), 0);
	snprintf(path, sizeof path, "%s/lock", b.edge->spool);
	WAIT_FOR(&b, queue_spool(b.queue) != NULL);
	assert_int_equal(queue_recipients(b.queue), 1);
	assert_int_equal(put_now(&b)->err, ERR_OK);
	bench_close(&b);
}

/* A crash left half a record, or bytes that are none, behind what was durable. */
static void test_torn_end(void **state)
{
	for (int garbage = 0; garbage < 2; garbage++) {
		struct bench b;
		char path[200], bytes[5000];
		open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X"));
		assert_int_equal(put_now(&b)->err, ERR_OK);
		assert_int_equal(put_now(&b)->err, ERR_OK);
		queue_gone(&b);
		int fd = open(segment(&b, path), O_RDWR);
		off_t size = lseek(fd, 0, SEEK_END);
		assert_int_equal(pread(fd, bytes, 100, size - 100), 100);
		memset(bytes + 100, 0x5a, sizeof bytes - 100);
		assert_int_equal(pwrite(fd, bytes, garbage ? sizeof bytes : 60, size),
		    garbage ? (ssize_t)sizeof bytes : 60);
		close(fd);
		queue_up(&b);
		assert_non_null(queue_spool(b.queue));
		assert_int_equal(queue_recipients(b.queue), 2);
		assert_int_equal(put_now(&b)->err, ERR_OK);
		queue_again(&b);
		assert_int_equal(queue_recipients(b.queue), 3);
		bench_close(&b);
	}
}

/* The first of two messages is damaged on the disk, in its bytes or in what says where it ends: the log says so and counts
 * it, the other one is there, new ones are taken, and all that without anybody's hand. */
static void test_flipped_byte(void **state)
{
	static const off_t places[] = { 100, 5 };
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		struct bench b;
		char path[200], byte;
		open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X"));
		off_t at = segment_size(&b) + places[i];
		assert_int_equal(put_now(&b)->err, ERR_OK);
		assert_int_equal(put_now(&b)->err, ERR_OK);
		queue_gone(&b);
		int fd = open(segment(&b, path), O_RDWR);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		uint64_t before = metric_get(&queue_metrics[QUEUE_M_SPOOL_DAMAGED]);
		queue_up(&b);
		assert_non_null(queue_spool(b.queue));
		assert_int_equal(metric_get(&queue_metrics[QUEUE_M_SPOOL_DAMAGED]), before + 1);
		assert_int_equal(queue_recipients(b.queue), 1);
		assert_int_equal(put_now(&b)->err, ERR_OK);
		queue_again(&b);
		assert_int_equal(queue_recipients(b.queue), 2);
		bench_close(&b);
	}
}

/* The disk is read-only at start: nothing is promised, and when it may be written again all goes on by itself. As root
 * only: the disk is a small one of our own. */
static void test_read_only(void **state)
{
	struct bench b;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		skip();
	open_late(&b, SCRIPT("S 421 no", "X", "S 421 no", "X"));
	queue_gone(&b);
	if (mount("tmpfs", b.edge->spool, "tmpfs", 0, "size=1m") != 0)
		skip();
	queue_up(&b);
	assert_int_equal(put_now(&b)->err, ERR_OK);
	queue_gone(&b);
	assert_int_equal(mount(NULL, b.edge->spool, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	queue_up(&b);
	assert_null(queue_spool(b.queue));
	assert_int_not_equal(put_now(&b)->err, ERR_OK);
	assert_int_equal(mount(NULL, b.edge->spool, NULL, MS_REMOUNT, NULL), 0);
	WAIT_FOR(&b, queue_spool(b.queue) != NULL);
	assert_int_equal(queue_recipients(b.queue), 1);
	assert_int_equal(put_now(&b)->err, ERR_OK);
	queue_gone(&b);
	assert_int_equal(umount2(b.edge->spool, MNT_DETACH), 0);
	queue_up(&b);
	bench_close(&b);
}

/* Ten years forward, a year back: what waits goes on waiting, is not given up, and ids that are done stay known. */
static void test_clock_jumps(void **state)
{
	static const int64_t jumps_s[] = { 3650ll * DAY_S, -365ll * DAY_S };
	for (size_t i = 0; i < COUNT_OF(jumps_s); i++) {
		struct bench b;
		bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE, MAIL("", "bob"), GO,
				   "S 452 4.2.2 full", MAIL("", "bob"), GO, "S 452 4.2.2 full",
				   MAIL("", "bob"), GO, DONE));
		b.edge->queue_retry_first = b.edge->queue_retry_max = 300 * 1000;
		b.edge->out_idle = LATE_MS; /* one connection is enough */
		queue_again(&b);
		set_body(&b, 100);
		struct ident done = put_and_wait(&b, "", TO(to("alice@x.example")));
		WAIT_FOR(&b, EMPTY(&b));
		put_and_wait(&b, "", TO(to("bob@x.example")));
		WAIT_FOR(&b, seen(&b, "}") == 2);
		uint64_t wall = clock_wall_us();
		clock_fake(clock_mono_ms(), (uint64_t)((int64_t)wall + jumps_s[i] * 1000000));
		for (int k = 0; k < 300 && seen(&b, "}") < 3; k++) {
			clock_fake_advance(4 * 1000);
			loop_step(b.loop, 1);
		}
		assert_int_equal(seen(&b, "}"), 3);
		assert_int_equal(queue_recipients(b.queue), 1);
		assert_true(queue_knows(b.queue, done));
		for (int k = 0; k < 300 && !EMPTY(&b); k++) {
			clock_fake_advance(4 * 1000);
			loop_step(b.loop, 1);
		}
		assert_true(EMPTY(&b));
		clock_fake_off();
		bench_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_full_at_the_end),
		cmocka_unit_test(test_no_permission),
		cmocka_unit_test(test_torn_end),
		cmocka_unit_test(test_flipped_byte),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_clock_jumps),
	};
	sigaction(SIGXFSZ, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	getrlimit(RLIMIT_FSIZE, &unlimited);
	return cmocka_run_group_tests(tests, setup, teardown);
}
