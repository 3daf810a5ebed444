/* test_commitlog_damage.c - what was acknowledged and is damaged later: it is stepped over and told, everything else is
 * kept, and the log goes on without anybody's hand. */
#include "tests/unit/log_world.h"

static void put_lock(struct world *w, const char *text)
{
	char path[100];
	snprintf(path, sizeof path, "%s/lock", w->dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* The text of the file lock: the log's salt. */
static void get_lock(struct world *w, char text[SALT_TEXT_BYTES + 1])
{
	char path[100];
	snprintf(path, sizeof path, "%s/lock", w->dir);
	int fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, text, SALT_TEXT_BYTES), SALT_TEXT_BYTES);
	text[SALT_TEXT_BYTES] = '\0';
	close(fd);
}

/* What a flip at this place of the image does, beside the record at its end, which nothing proves. */
static void check_flip(struct world *w, size_t at, const log_pos pos[3])
{
	size_t off1 = at - (size_t)pos_offset(pos[0]), last = (size_t)pos_offset(pos[2]);
	struct seen *s = replay(w, 0);
	if (at < SEGMENT_HEADER_BYTES) {
		assert_int_equal(s->n, 3); /* the salt stands in lock */
		assert_int_equal(s->damaged, 0);
		assert_int_equal(commitlog_verify(w->log, pos[1]), ERR_OK);
	} else if (off1 < RECORD_STATE_AT) {
		assert_int_equal(s->n, 3); /* a gap, and the two behind it */
		assert_int_equal(s->gaps, 1);
		assert_int_equal(s->lost, pos[1] - pos[0]);
		assert_int_equal(s->first[1], 'b');
		assert_int_equal(s->first[2], 'c');
	} else if (off1 >= RECORD_HEADER_BYTES && off1 < RECORD_HEADER_BYTES + 100) {
		assert_int_equal(s->n, 3); /* payload: stepped over and told */
		assert_int_equal(s->damaged, 1);
		assert_int_equal(s->size[0], 0);
		assert_int_equal(commitlog_verify(w->log, pos[0]), ERR_CORRUPT);
	} else if (at >= last + RECORD_HEADER_BYTES && at < last + RECORD_HEADER_BYTES + 102) {
		assert_int_equal(s->n, 2); /* like a torn tail */
	}
}

static void test_bit_flips(void **state)
{
	struct world w;
	char image[4096], salt[SALT_TEXT_BYTES + 1];
	log_pos pos[3];
	world_make(&w);
	size_t n = three_records(&w, image, sizeof image, pos);
	get_lock(&w, salt);
	for (size_t at = 0; at < n; at++) {
		image[at] ^= 0x10;
		put_image(&w, image, n);
		put_lock(&w, salt);
		assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
		check_flip(&w, at, pos);
		append(&w, 9, 'z', 50);
		sync_now(&w);
		size_t before = replay(&w, 0)->n;
		commitlog_close(&w.log);
		assert_int_equal(world_open(&w, 1 << 20), ERR_OK);
		struct seen *s = replay(&w, 0);
		assert_int_equal(s->n, before);
		assert_int_equal(s->first[s->n - 1], 'z');
		commitlog_close(&w.log);
		image[at] ^= 0x10;
	}
	world_end(&w);
}

/* Without any copy of the salt nothing can be told from bytes of messages. */
static void test_no_salt(void **state)
{
	static const char *const locks[] = { "", "0123456789abcdef", "0123456789abcdeg\n" };
	struct world w;
	char image[4096];
	log_pos pos[3];
	world_make(&w);
	size_t n = three_records(&w, image, sizeof image, pos);
	image[9] ^= 1;
	for (size_t i = 0; i < sizeof locks / sizeof *locks; i++) {
		put_image(&w, image, n);
		put_lock(&w, locks[i]);
		assert_int_equal(world_open(&w, 1 << 20), ERR_CORRUPT);
	}
	world_end(&w);
}

enum { RECORDS = 40, EACH = 300 };

static void segment_path(struct world *w, uint32_t number, char path[100])
{
	snprintf(path, 100, "%s/%08x.seg", w->dir, number);
}

/* RECORDS of EACH bytes in several segments, all of them synced. */
static void fill(struct world *w, log_pos pos[RECORDS])
{
	assert_int_equal(world_open(w, 4000), ERR_OK);
	for (int i = 0; i < RECORDS; i++) {
		pos[i] = append(w, 1, (char)('0' + i), EACH);
		if (i % 4 == 3)
			sync_now(w);
	}
	sync_now(w);
	commitlog_close(&w->log);
}

/* Garbage from `from` on, or nothing at all. */
static void spoil(struct world *w, uint32_t number, off_t from, size_t n, bool cut)
{
	char path[100], garbage[8192];
	segment_path(w, number, path);
	memset(garbage, 0x5a, sizeof garbage);
	assert_true(n <= sizeof garbage);
	if (cut) {
		assert_int_equal(truncate(path, from), 0);
		return;
	}
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, garbage, n, from), n);
	close(fd);
}

/* The records that are whole are there, in order, and new ones last; and again after another start. */
static void check_rest(struct world *w, int lost_from, int lost_to)
{
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(world_open(w, 4000), ERR_OK);
		struct seen *s = replay(w, 0);
		size_t at = 0;
		for (int i = 0; i < RECORDS; i++) {
			if (i >= lost_from && i < lost_to)
				continue;
			while (at < s->n && s->type[at] == 0)
				at++;
			assert_true(at < s->n);
			assert_int_equal(s->first[at++], '0' + i);
		}
		assert_true(s->gaps > 0);
		append(w, 2, 'z', 10);
		sync_now(w);
		s = replay(w, 0);
		assert_int_equal(s->first[s->n - 1], 'z');
		commitlog_close(&w->log);
	}
}

/* Damage of many bytes: within a segment, its header and the first record's, all of it, and files that were cut off. The
 * segment in the middle is neither the first nor the last. */
static void test_torn_segments(void **state)
{
	enum { SOME, HEADER, ALL, CUT, EMPTY, CASES };
	for (int i = 0; i < CASES; i++) {
		struct world w;
		log_pos pos[RECORDS];
		int first = 0, last = RECORDS - 1;
		world_make(&w);
		fill(&w, pos);
		uint32_t number = pos_segment(pos[RECORDS / 2]);
		while (pos_segment(pos[first]) < number)
			first++;
		while (pos_segment(pos[last]) > number)
			last--;
		assert_true(first > 0 && last < RECORDS - 1 && last - first >= 5);
		off_t third = (off_t)pos_offset(pos[first + 2]);
		off_t from[CASES] = { third, 0, 0, third + 50, 10 };
		off_t to[CASES] = { (off_t)pos_offset(pos[first + 4]),
			(off_t)pos_offset(pos[first]) + 4,
			(off_t)pos_offset(pos[last]) + RECORD_HEADER_BYTES + EACH };
		int lost_from[CASES] = { first + 2, first, first, first + 2, first };
		int lost_to[CASES] = { first + 4, first + 1, last + 1, last + 1, last + 1 };
		spoil(&w, number, from[i], i < CUT ? (size_t)(to[i] - from[i]) : 0, i >= CUT);
		check_rest(&w, lost_from[i], lost_to[i]);
		world_end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_no_salt),
		cmocka_unit_test(test_torn_segments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
