/* test_durable.c - what a committer does while the disk is slow, and when it fails: this file's own fdatasync() is
 * what the log calls, and its pwrite(). */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

static struct {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool held, failing;
	unsigned inside; /* threads that are held */
	size_t again;    /* bytes of the log's segments written by pwrite() */
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER };

int fdatasync(int fd)
{
	pthread_mutex_lock(&disk.lock);
	disk.inside++;
	while (disk.held)
		pthread_cond_wait(&disk.change, &disk.lock);
	disk.inside--;
	bool failing = disk.failing;
	pthread_mutex_unlock(&disk.lock);
	if (failing) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	char link[64], path[256] = "";
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, ".seg") != NULL && at > 64)
		disk.again += n;
	return (ssize_t)syscall(SYS_pwrite64, fd, p, n, at);
}

static void disk_set(bool held, bool failing)
{
	pthread_mutex_lock(&disk.lock);
	disk.held = held;
	disk.failing = failing;
	pthread_cond_broadcast(&disk.change);
	pthread_mutex_unlock(&disk.lock);
}

/* Until the log's thread is in the midst of a sync. */
static bool wait_held(struct world *w)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	unsigned inside = 0;
	while (inside == 0 && clock_mono_ms() < until) {
		loop_step(w->loop, 5);
		pthread_mutex_lock(&disk.lock);
		inside = disk.inside;
		pthread_mutex_unlock(&disk.lock);
	}
	return inside > 0;
}

struct heard {
	bool any;
	uint64_t modseq;
};

static void on_news(void *arg, const struct mailbox_news *news)
{
	*(struct heard *)arg = (struct heard){ true, news->modseq };
}

static void start_append(struct world *w, uint64_t mailbox, struct answer *r)
{
	struct operation op = op_of(OP_APPEND, "a@x");
	op.mailbox = mailbox;
	op.message.bytes = span_str(message);
	start(w, &op, r);
}

/* Until the disk has it nothing is answered, nobody is told, and the index shows nothing. */
static void test_nothing_before_the_disk(void **state)
{
	struct world w;
	struct answer first, second, refused;
	struct heard h = { 0 };
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	struct mailbox_watch *watch = mailbox_watch_start(w.link, inbox, on_news, &h);
	assert_true(wait_until(&w, &h.any));
	h.any = false;
	uint64_t before = partition_facts(w.partition).digest;
	disk_set(true, false);
	start_append(&w, inbox, &first);
	assert_true(wait_held(&w));
	start_append(&w, inbox, &second);
	/* Needs no record, yet its turn comes after what it may rest on. */
	start_append(&w, 4711, &refused);
	for (int i = 0; i < 50; i++)
		loop_step(w.loop, 2);
	assert_false(first.here || second.here || refused.here || h.any);
	assert_int_equal(partition_facts(w.partition).digest, before);
	disk_set(false, false);
	assert_true(wait_until(&w, &refused.here));
	assert_true(first.here && second.here);
	assert_int_equal(first.a.uid, 1);
	assert_int_equal(second.a.uid, 2);
	assert_int_equal(refused.a.result, OPR_NO_MAILBOX);
	assert_true(wait_until(&w, &h.any));
	assert_int_not_equal(partition_facts(w.partition).digest, before);
	mailbox_watch_stop(&watch);
	world_end(&w);
}

/* A sync that fails is the end of it: no answer, and whoever opens anew finds out what is there. */
static void test_disk_fails(void **state)
{
	struct world w;
	struct answer r;
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	disk_set(false, true);
	start_append(&w, inbox, &r);
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (w.failed == NULL && clock_mono_ms() < until)
		loop_step(w.loop, 5);
	assert_non_null(w.failed);
	assert_string_equal(w.failed, "log");
	assert_int_equal(w.failed_err, ERR_IO);
	for (int i = 0; i < 20; i++)
		loop_step(w.loop, 2);
	assert_false(r.here);
	disk_set(false, false);
	world_close(&w);
	disk.again = 0;
	assert_int_equal(world_open(&w), ERR_OK);
	/* The kernel may take the bytes for written: they are given to it once more. */
	assert_true(disk.again >= sizeof message);
	/* The link asks again; once is once. */
	assert_true(wait_until(&w, &r.here));
	assert_int_equal(r.a.result, OPR_OK);
	assert_int_equal(r.a.uid, 1);
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	assert_int_equal(r.a.uid, 2);
	world_end(&w);
}

/* Closed while a sync is under way: the change is in the log, and nobody was told. */
static void test_closed_in_the_midst(void **state)
{
	struct world w;
	struct answer r;
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	uint64_t before = partition_facts(w.partition).digest;
	disk_set(true, false);
	start_append(&w, inbox, &r);
	assert_true(wait_held(&w));
	disk_set(false, false);
	world_close(&w);
	assert_false(r.here);
	assert_int_equal(world_open(&w), ERR_OK);
	assert_int_equal(partition_facts(w.partition).replayed, 1);
	assert_int_not_equal(partition_facts(w.partition).digest, before);
	assert_true(wait_until(&w, &r.here));
	assert_int_equal(r.a.uid, 1);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_before_the_disk),
		cmocka_unit_test(test_disk_fails),
		cmocka_unit_test(test_closed_in_the_midst),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
