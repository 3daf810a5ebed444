/* test_commitlog.c - the log against crashes, torn tails, flipped bits, full disks and reclaiming. */
#include "tests/unit/log_world.h"

static void test_append_and_replay(void **state)
{
	struct world w;
	world_make(&w);
	assert_int_equal(world_open(&w, 4096), ERR_OK);
	log_pos third = 0;
	for (int i = 0; i < 60; i++) {
		log_pos p =
		    append(&w, (uint32_t)i + 1, (char)('a' + i % 26), (size_t)(i * 37 % 500));
		if (i == 2)
			third = p;
		if (i % 7 == 0)
			sync_now(&w);
	}
	sync_now(&w);
	assert_int_equal(w.synced, ERR_OK);
	struct seen *s = replay(&w, 0);
	assert_int_equal(s->n, 60);
	for (size_t i = 0; i < s->n; i++) {
		assert_int_equal(s->type[i], i + 1);
		assert_int_equal(s->size[i], i * 37 % 500);
	}
	assert_int_equal(replay(&w, third)->n, 58);
	assert_true(commitlog_stats(w.log).segments > 2);
	commitlog_close(&w.log);
	assert_int_equal(world_open(&w, 4096), ERR_OK);
	assert_int_equal(replay(&w, 0)->n, 60);
	log_pos end = commitlog_end(w.log);
	assert_true(append(&w, 1, 'x', 10) >= end);
	world_end(&w);
}

static void test_lock(void **state)
{
	struct world w;
	world_make(&w);
	assert_int_equal(world_open(&w, 4096), ERR_OK);
	struct commitlog_opts o = { .dir = w.dir, .segment_bytes = 4096 };
	struct buf why = BUF_INIT(200);
	err_t err;
	assert_null(commitlog_open(w.loop, &o, &err, &why));
	assert_int_equal(err, ERR_BUSY);
	assert_true(buf_len(&why) > 0);
	buf_end(&why);
	world_end(&w);
}

static void test_read_and_file(void **state)
{
	struct world w;
	char out[100];
	world_make(&w);
	assert_int_equal(world_open(&w, 4096), ERR_OK);
	log_pos a = append(&w, 7, 'a', 3000), b = append(&w, 8, 'b', 3000),
		c = append(&w, 9, 'c', 0);
	struct commitlog_reader *r = commitlog_reader_open(w.dir);
	assert_int_equal(commitlog_reader_read(r, b, 2990, out, 10), ERR_OK);
	assert_memory_equal(out, "bbbbbbbbbb", 10);
	assert_int_equal(commitlog_reader_read(r, b, 2991, out, 10), ERR_NOT_FOUND);
	assert_int_equal(commitlog_reader_read(r, b, UINT64_MAX, out, 10), ERR_NOT_FOUND);
	assert_int_equal(commitlog_reader_read(r, b + 8, 0, out, 10), ERR_CORRUPT);
	assert_int_equal(commitlog_reader_read(r, b + 1000000, 0, out, 10), ERR_NOT_FOUND);
	assert_int_equal(commitlog_reader_read(r, c, 0, out, 0), ERR_OK);
	struct file_ref *f;
	uint64_t at, n;
	assert_int_equal(commitlog_reader_file(r, a, &f, &at, &n), ERR_OK);
	assert_int_equal(n, 3000);
	assert_int_equal(pread(file_ref_fd(f), out, 10, (off_t)at), 10);
	assert_memory_equal(out, "aaaaaaaaaa", 10);
	file_ref_put(&f);
	assert_int_equal(commitlog_verify(w.log, a), ERR_OK);
	assert_int_equal(commitlog_size(w.log, b, &n), ERR_OK);
	assert_int_equal(n, 3000);
	commitlog_reader_close(&r);
	world_end(&w);
}

/* Another process sees the same as the log's own, up to where it is told to stop. */
static void test_reader_replays(void **state)
{
	struct world w;
	log_pos pos[40];
	world_make(&w);
	assert_int_equal(world_open(&w, 4096), ERR_OK);
	for (uint32_t i = 0; i < 40; i++)
		pos[i] = append(&w, i + 1, (char)('a' + i % 26), 400);
	assert_true(pos_segment(pos[39]) > pos_segment(pos[0]) + 2);
	struct commitlog_reader *r = commitlog_reader_open(w.dir);
	struct seen s = { 0 };
	assert_int_equal(commitlog_reader_replay(r, 0, UINT64_MAX, see, &s), ERR_OK);
	assert_int_equal(s.n, 40);
	for (size_t first = 0; first < 40; first += 13)
		for (size_t end = first; end < 40; end += 7) {
			s = (struct seen){ 0 };
			assert_int_equal(
			    commitlog_reader_replay(r, pos[first], pos[end], see, &s), ERR_OK);
			assert_int_equal(s.n, end - first);
			assert_true(s.n == 0 || s.type[0] == first + 1);
		}
	commitlog_reader_close(&r);
	r = commitlog_reader_open("/nowhere");
	assert_int_equal(commitlog_reader_replay(r, 0, UINT64_MAX, see, &s), ERR_NOT_FOUND);
	commitlog_reader_close(&r);
	world_end(&w);
}

static void test_every_truncation(void **state)
{
	struct world w;
	char image[4096];
	log_pos pos[3];
	world_make(&w);
	size_t n = three_records(&w, image, sizeof image, pos);
	for (size_t cut = (size_t)pos_offset(pos[2]); cut <= n; cut++) {
		put_image(&w, image, cut);
		assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
		assert_int_equal(replay(&w, 0)->n, cut == n ? 3 : 2);
		append(&w, 9, 'z', 5);
		sync_now(&w);
		commitlog_close(&w.log);
		assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
		struct seen *s = replay(&w, 0);
		assert_int_equal(s->n, cut == n ? 4 : 3);
		assert_int_equal(s->first[s->n - 1], 'z');
		commitlog_close(&w.log);
	}
	world_end(&w);
}

static void wait_reclaimed(struct world *w, uint64_t dead, uint64_t segments)
{
	for (int i = 0; i < 200; i++) {
		struct commitlog_stats s = commitlog_stats(w->log);
		if (s.dead_bytes >= dead && s.segments <= segments)
			return;
		loop_step(w->loop, 50);
	}
	fail_msg("nothing was reclaimed in time");
}

static void test_forget(void **state)
{
	struct world w;
	log_pos pos[10];
	char out[10];
	struct stat before, after;
	char path[100];
	world_make(&w);
	assert_int_equal(world_open(&w, 200000), ERR_OK);
	for (int i = 0; i < 10; i++)
		pos[i] = append(&w, 1, (char)('a' + i), 30000);
	sync_now(&w);
	snprintf(path, sizeof path, "%s/00000001.seg", w.dir);
	assert_int_equal(stat(path, &before), 0);
	commitlog_forget(w.log, pos[1]);
	wait_reclaimed(&w, 30000, 2);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(after.st_size, before.st_size);
	assert_int_equal(commitlog_read(w.log, pos[1], 0, out, 10), ERR_NOT_FOUND);
	assert_int_equal(commitlog_read(w.log, pos[2], 0, out, 10), ERR_OK);
	struct seen *s = replay(&w, 0);
	assert_int_equal(s->n, 10);
	assert_int_equal(s->dead, 1);
	assert_int_equal(s->size[1], 30000);
	/* The rest of the first segment: the file goes. Twice the same is once. */
	uint32_t first = pos_segment(pos[0]);
	size_t in_first = 0;
	for (int i = 0; i < 10; i++) {
		if (pos_segment(pos[i]) == first) {
			commitlog_forget(w.log, pos[i]);
			commitlog_forget(w.log, pos[i]);
			in_first++;
		}
	}
	assert_in_range(in_first, 5, 9);
	wait_reclaimed(&w, 0, 1);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(replay(&w, 0)->n, 10 - in_first);
	commitlog_close(&w.log);
	assert_int_equal(world_open(&w, 200000), ERR_OK);
	assert_int_equal(replay(&w, 0)->n, 10 - in_first);
	world_end(&w);
}

/* A segment of an earlier opening is counted when its first record is forgotten; what is forgotten with it
 * must not count twice, or the segment goes with records that are alive. */
static void test_forget_after_reopening(void **state)
{
	struct world w;
	log_pos pos[10];
	char out[10];
	world_make(&w);
	assert_int_equal(world_open(&w, 10000), ERR_OK);
	for (int i = 0; i < 10; i++)
		pos[i] = append(&w, 1, (char)('a' + i), 900);
	append(&w, 1, 'z', 2000);
	append(&w, 1, 'z', 900); /* in the next segment */
	sync_now(&w);
	commitlog_close(&w.log);
	assert_int_equal(world_open(&w, 10000), ERR_OK);
	for (int i = 0; i < 9; i++)
		commitlog_forget(w.log, pos[i]);
	wait_reclaimed(&w, 9 * 900, 2);
	assert_int_equal(commitlog_read(w.log, pos[8], 0, out, 10), ERR_NOT_FOUND);
	assert_int_equal(commitlog_read(w.log, pos[9], 0, out, 10), ERR_OK);
	world_end(&w);
}

static bool keep_blobs(void *arg, log_pos pos, uint32_t type)
{
	return type == 1;
}

static size_t count_live(struct world *w, uint32_t type)
{
	const struct seen *s = replay(w, 0);
	size_t n = 0;
	for (size_t i = 0; i < s->n; i++)
		n += s->type[i] == type && s->first[i] != 0;
	return n;
}

static void test_forget_before(void **state)
{
	struct world w;
	world_make(&w);
	assert_int_equal(world_open(&w, 10000), ERR_OK);
	for (int i = 0; i < 20; i++) {
		append(&w, 2, 'o', 900);
		if (i < 3)
			append(&w, 1, 'b', 900);
		sync_now(&w);
	}
	log_pos covered = append(&w, 2, 'o', 900);
	append(&w, 2, 'p', 900);
	sync_now(&w);
	commitlog_forget_before(w.log, covered, keep_blobs, NULL);
	wait_reclaimed(&w, 1, 2);
	for (int i = 0; i < 200 && count_live(&w, 2) > 2; i++)
		loop_step(w.loop, 50);
	assert_int_equal(count_live(&w, 1), 3);
	assert_int_equal(count_live(&w, 2), 2);
	world_end(&w);
}

static void test_full_disk_is_clean(void **state)
{
	struct world w;
	struct rlimit old, small;
	log_pos pos;
	world_make(&w);
	assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
	append(&w, 1, 'a', 1000);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = old;
	small.rlim_cur = 5000;
	setrlimit(RLIMIT_FSIZE, &small);
	char big[10000] = { 0 };
	struct span part = span_of(big, sizeof big);
	assert_int_equal(commitlog_append(w.log, 2, &part, 1, &pos), ERR_NO_SPACE);
	setrlimit(RLIMIT_FSIZE, &old);
	append(&w, 3, 'c', 1000);
	sync_now(&w);
	assert_int_equal(w.synced, ERR_OK);
	struct seen *s = replay(&w, 0);
	assert_int_equal(s->n, 2);
	assert_int_equal(s->type[1], 3);
	world_end(&w);
}

/* A cut in one segment takes the later ones, and their numbers are not used again. */
static void test_cut_before_later_segments(void **state)
{
	struct world w;
	char path[100];
	world_make(&w);
	assert_int_equal(world_open(&w, 2000), ERR_OK);
	append(&w, 1, 'a', 1000);
	sync_now(&w);
	log_pos torn = append(&w, 2, 'b', 1500);
	append(&w, 3, 'c', 100);
	assert_int_equal(commitlog_stats(w.log).segments, 2);
	commitlog_close(&w.log);
	snprintf(path, sizeof path, "%s/%08x.seg", w.dir, pos_segment(torn));
	assert_int_equal(truncate(path, (off_t)pos_offset(torn) + 700), 0);
	assert_int_equal(world_open(&w, 2000), ERR_OK);
	assert_int_equal(replay(&w, 0)->n, 1);
	assert_int_equal(pos_segment(append(&w, 4, 'd', 10)), 3);
	sync_now(&w);
	commitlog_close(&w.log);
	assert_int_equal(world_open(&w, 2000), ERR_OK);
	assert_int_equal(replay(&w, 0)->n, 2);
	world_end(&w);
}

static void cancelled(void *arg, err_t err)
{
	fail_msg("a cancelled ticket answered");
}

static void close_log(void *arg, err_t err)
{
	struct world *w = arg;
	w->answered = true;
	commitlog_close(&w->log);
}

static void test_tickets(void **state)
{
	struct world w;
	world_make(&w);
	assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
	append(&w, 1, 'a', 10);
	struct ticket *a = commitlog_sync(w.log, cancelled, NULL);
	struct ticket *b = commitlog_sync(w.log, cancelled, NULL);
	ticket_cancel(&a);
	ticket_cancel(&b);
	sync_now(&w);
	sync_now(&w); /* nothing new: answers all the same */
	append(&w, 1, 'a', 10);
	w.answered = false;
	commitlog_sync(w.log, close_log, &w);
	while (!w.answered)
		loop_step(w.loop, 100);
	assert_null(w.log);
	world_end(&w);
}

/* ---- kill -9 of a writer ---------------------------------------------------------------------------------- */

struct writer {
	struct world *w;
	int out;
	uint32_t next, acked;
};

static void write_on(void *arg, err_t err)
{
	struct writer *x = arg;
	if (err || (x->acked != 0 && write(x->out, &x->acked, sizeof x->acked) != sizeof x->acked))
		_exit(1);
	size_t n = 1 + rand_below(20);
	for (size_t i = 0; i < n; i++)
		append(x->w, x->next++, 'w', rand_below(3000));
	x->acked = x->next - 1;
	(void)commitlog_sync(x->w->log, write_on, x);
}

static void child(struct world *w, int out, uint32_t next)
{
	w->loop = loop_new();
	if (world_open(w, 50000) != ERR_OK)
		_exit(2);
	struct writer x = { .w = w, .out = out, .next = next };
	write_on(&x, ERR_OK);
	for (;;)
		loop_step(w->loop, 1000);
}

static void test_kill_writer(void **state)
{
	struct world w;
	world_make(&w);
	uint32_t have = 0;
	for (int round = 0; round < 25 && have < 3500; round++) {
		int fds[2];
		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		if (pid == 0)
			child(&w, fds[1], have + 1);
		close(fds[1]);
		uint32_t acked = 0, wanted = 1 + (uint32_t)rand_below(12);
		for (uint32_t i = 0; i < wanted; i++)
			assert_int_equal(read(fds[0], &acked, sizeof acked), sizeof acked);
		usleep((useconds_t)rand_below(3000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		uint32_t more;
		while (read(fds[0], &more, sizeof more) == sizeof more)
			acked = more;
		close(fds[0]);
		assert_int_equal(world_open(&w, 50000), ERR_OK);
		struct seen *s = replay(&w, 0);
		assert_true(s->n >= acked);
		assert_int_equal(s->damaged, 0);
		for (size_t i = 0; i < s->n; i++)
			assert_int_equal(s->type[i], i + 1);
		have = (uint32_t)s->n;
		commitlog_close(&w.log);
	}
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append_and_replay),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_read_and_file),
		cmocka_unit_test(test_reader_replays),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_forget_after_reopening),
		cmocka_unit_test(test_forget_before),
		cmocka_unit_test(test_full_disk_is_clean),
		cmocka_unit_test(test_cut_before_later_segments),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_kill_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
