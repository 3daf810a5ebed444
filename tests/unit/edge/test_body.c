/* test_body.c - a body reads back the same wherever its bytes are: memory, file, prepended lines. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "edge/body.h"

enum { ALL_MAX = 4 * 1024 * 1024 };

static char dir[] = "/tmp/postern-body-XXXXXX";

static int setup(void **state)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(dir); /* a file left behind fails here */
}

/* The whole body in pieces of n must be what was put in. */
static void check_same(struct body *b, const struct buf *want, size_t n)
{
	err_t err;
	uint64_t at = 0;
	assert_int_equal(body_size(b), buf_len(want));
	while (at < body_size(b)) {
		struct span got = body_read(b, at, n, &err);
		assert_int_equal(err, ERR_OK);
		assert_true(got.n == n || at + got.n == body_size(b));
		assert_memory_equal(got.p, buf_span(want).p + at, got.n);
		at += got.n;
	}
	assert_int_equal(body_read(b, at, n, &err).n, 0);
	assert_int_equal(body_read(b, at + 1000, n, &err).n, 0);
}

static void fill(struct body *b, struct buf *want, size_t size, size_t piece)
{
	char bytes[70000];
	for (size_t at = 0; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		for (size_t i = 0; i < n; i++)
			bytes[i] = (char)((at + i) * 31 + (at + i) / 251);
		assert_int_equal(body_add(b, span_of(bytes, n)), ERR_OK);
		buf_add(want, bytes, n);
	}
}

static void put_in_front(struct body *b, struct buf *want, const char *lines)
{
	struct buf joined = BUF_INIT(ALL_MAX);
	assert_int_equal(body_prepend(b, span_str(lines)), ERR_OK);
	buf_add_str(&joined, lines);
	buf_add_span(&joined, buf_span(want));
	buf_end(want);
	*want = joined;
}

static void test_reads_back(void **state)
{
	static const struct {
		size_t memory, size, piece;
	} cases[] = {
		{ 1000, 0, 1 },        /* empty */
		{ 1000, 1000, 7 },     /* just fits */
		{ 1000, 1001, 7 },     /* just not */
		{ 1000, 5000, 1 },     /* file and tail */
		{ 1000, 60000, 1500 }, /* pieces larger than the memory */
		{ 4096, 70000, 70000 },
		{ 262144, 200000, 65536 },
		{ 262144, 2000000, 65536 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct body *b = body_new(cases[i].memory, ALL_MAX, dir);
		struct buf want = BUF_INIT(ALL_MAX);
		fill(b, &want, cases[i].size, cases[i].piece);
		check_same(b, &want, 977);
		put_in_front(b, &want, "X-Second: 2\r\n");
		put_in_front(b, &want, "X-First: 1\r\n");
		check_same(b, &want, 10);
		check_same(b, &want, 65536);
		check_same(b, &want, 1024 * 1024);
		body_free(&b);
		assert_null(b);
		buf_end(&want);
	}
}

/* Wherever the cut falls: in the head, in the file, in the tail; and bytes that come later. */
static void test_a_new_head(void **state)
{
	static const size_t cuts[] = { 0, 1, 12, 13, 600, 4000, 5011, 5012, 9000 };
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		for (size_t memory = 900; memory < 10000; memory += 8000) {
			struct body *b = body_new(memory, ALL_MAX, dir);
			struct buf want = BUF_INIT(ALL_MAX);
			fill(b, &want, 5000, 700);
			put_in_front(b, &want, "X-First: 1\r\n");
			buf_eat(&want, cuts[i] < buf_len(&want) ? cuts[i] : buf_len(&want));
			assert_int_equal(body_set_head(b, cuts[i], SPAN_NONE), ERR_OK);
			check_same(b, &want, 977);
			fill(b, &want, 800, 33);
			put_in_front(b, &want, "X-New: 1\r\nX-More: 2\r\n");
			check_same(b, &want, 10);
			buf_eat(&want, 15);
			assert_int_equal(body_set_head(b, 15, SPAN_NONE), ERR_OK);
			check_same(b, &want, 65536);
			body_free(&b);
			buf_end(&want);
		}
	}
}

static void test_the_head_is_bounded(void **state)
{
	static char bytes[BODY_HEAD_MAX + 1];
	struct body *b = body_new(100, 1000, dir);
	assert_int_equal(body_prepend(b, SPAN("A: b\r\n")), ERR_OK);
	assert_int_equal(body_set_head(b, 6, span_of(bytes, sizeof bytes)), ERR_TOO_LONG);
	assert_int_equal(body_set_head(b, 0, span_of(bytes, BODY_HEAD_MAX)), ERR_TOO_LONG);
	assert_int_equal(body_size(b), 6);
	assert_int_equal(body_set_head(b, 6, span_of(bytes, BODY_HEAD_MAX)), ERR_OK);
	body_free(&b);
}

static void test_size_max(void **state)
{
	struct body *b = body_new(100, 1000, dir);
	char bytes[600] = { 0 };
	assert_int_equal(body_add(b, span_of(bytes, 600)), ERR_OK);
	assert_int_equal(body_add(b, span_of(bytes, 401)), ERR_TOO_LONG);
	assert_int_equal(body_size(b), 600);
	assert_int_equal(body_add(b, span_of(bytes, 400)), ERR_OK);
	assert_int_equal(body_add(b, span_of(bytes, 1)), ERR_TOO_LONG);
	body_free(&b);
}

static void test_no_room(void **state)
{
	char bytes[600] = { 0 };
	struct body *b = body_new(100, 1000, "/nonexistent/folder");
	assert_int_equal(body_add(b, span_of(bytes, 100)), ERR_OK);
	assert_int_not_equal(body_add(b, span_of(bytes, 100)), ERR_OK);
	body_free(&b);
	struct rlimit old, tiny = { .rlim_cur = 4096 };
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tiny.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &tiny);
	b = body_new(100, 100000, dir);
	err_t err = ERR_OK;
	for (int i = 0; i < 20 && err == ERR_OK; i++)
		err = body_add(b, span_of(bytes, sizeof bytes));
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_not_equal(err, ERR_OK);
	assert_int_equal(err_class(err), ERR_CLASS_TEMP);
	body_free(&b);
}

static void test_the_file_has_no_name(void **state)
{
	struct body *b = body_new(100, 100000, dir);
	struct buf want = BUF_INIT(ALL_MAX);
	fill(b, &want, 5000, 100);
	DIR *d = opendir(dir);
	assert_non_null(d);
	size_t entries = 0;
	while (readdir(d) != NULL)
		entries++;
	closedir(d);
	assert_int_equal(entries, 2); /* . and .. */
	check_same(b, &want, 512);
	body_free(&b);
	buf_end(&want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_back),
		cmocka_unit_test(test_a_new_head),
		cmocka_unit_test(test_the_head_is_bounded),
		cmocka_unit_test(test_size_max),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_the_file_has_no_name),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
