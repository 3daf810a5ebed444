/* test_compress.c - raw DEFLATE both ways: what one side packs the other unpacks, however it is cut; what does not
 * unpack; what stays in memory at rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/compress.h"

enum { ALL_MAX = 4 * 1024 * 1024 };

static void make_text(struct buf *out, size_t n)
{
	for (unsigned i = 0; buf_len(out) < n; i++)
		buf_printf(out, "* %u FETCH (UID %u FLAGS (\\Seen))\r\n", i, i * 7919u);
}

/* Unpacks what is there with `room` bytes at a time. */
static bool unpack_all(struct compress *c, struct buf *out, size_t room)
{
	char bytes[65536];
	size_t got;
	do {
		if (!compress_unpack(c, bytes, room, &got))
			return false;
		assert_true(got <= room && buf_add(out, bytes, got));
	} while (compress_has_pending(c));
	return true;
}

static void check_round_trip(size_t burst, size_t cut, size_t room)
{
	struct compress *a = compress_new(1), *b = compress_new(1);
	struct buf text = BUF_INIT(ALL_MAX), packed = BUF_INIT(ALL_MAX), back = BUF_INIT(ALL_MAX);
	make_text(&text, 60000);
	for (struct span rest = buf_span(&text); rest.n > 0; rest = span_from(rest, burst)) {
		compress_pack(a, span_first(rest, burst / 2), false, &packed);
		compress_pack(a, span_from(span_first(rest, burst), burst / 2), true, &packed);
	}
	assert_true(buf_len(&packed) < buf_len(&text));
	for (struct span rest = buf_span(&packed); rest.n > 0; rest = span_from(rest, cut)) {
		compress_take(b, span_first(rest, cut));
		assert_true(unpack_all(b, &back, room));
	}
	assert_true(span_eq(buf_span(&text), buf_span(&back)));
	buf_end(&text);
	buf_end(&packed);
	buf_end(&back);
	compress_free(&a);
	compress_free(&b);
}

static void test_round_trips(void **state)
{
	static const size_t bursts[] = { 1000, 7777, 100000 }, cuts[] = { 1, 3, 1000, 60000 },
			    rooms[] = { 1, 100, 65536 };
	for (size_t i = 0; i < COUNT_OF(bursts); i++) {
		for (size_t k = 0; k < COUNT_OF(cuts); k++)
			check_round_trip(bursts[i], cuts[k], rooms[(i + k) % COUNT_OF(rooms)]);
	}
}

/* A peer whose compressor lives on refers to what it said before: the history must outlast a rest. */
static void test_history(void **state)
{
	struct compress *c = compress_new(1);
	struct buf back = BUF_INIT(ALL_MAX), said = BUF_INIT(ALL_MAX);
	unsigned char packed[8192];
	z_stream z = { 0 };
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	for (unsigned i = 0; i < 3000; i++) {
		char line[128];
		int n =
		    snprintf(line, sizeof line, "a%u UID FETCH %u (BODY.PEEK[])\r\n", i, i % 97);
		z.next_in = (Bytef *)line;
		z.avail_in = (uInt)n;
		z.next_out = packed;
		z.avail_out = sizeof packed;
		assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
		buf_add(&said, line, (size_t)n);
		compress_take(c, span_of((const char *)packed, sizeof packed - z.avail_out));
		assert_true(unpack_all(c, &back, 4096));
		assert_true(span_eq(buf_span(&said), buf_span(&back)));
	}
	deflateEnd(&z);
	buf_end(&back);
	buf_end(&said);
	compress_free(&c);
}

static void test_no_deflate(void **state)
{
	static const char *const bad[] = { "a NOOP\r\n", "\x07", "\xff\xff\xff\xff" };
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct compress *c = compress_new(1);
		struct buf out = BUF_INIT(ALL_MAX);
		compress_take(c, span_str(bad[i]));
		assert_false(unpack_all(c, &out, 4096));
		buf_end(&out);
		compress_free(&c);
	}
}

/* Its end is no more expected than rubbish: the connection ends, not the data. */
static void test_end(void **state)
{
	struct compress *c = compress_new(1);
	struct buf out = BUF_INIT(ALL_MAX);
	compress_take(c, span_of("\x03\x00", 2)); /* the last block, empty */
	assert_false(unpack_all(c, &out, 4096));
	buf_end(&out);
	compress_free(&c);
}

/* A thousand to one, a little at a time. */
static void test_bomb(void **state)
{
	struct compress *c = compress_new(1);
	z_stream z = { 0 };
	size_t n = 4 * 1024 * 1024, got, total = 0;
	char *zeros = mem_alloc(n), *packed = mem_alloc(65536), room[1000];
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)zeros;
	z.avail_in = (uInt)n;
	z.next_out = (Bytef *)packed;
	z.avail_out = 65536;
	assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
	compress_take(c, span_of(packed, 65536 - z.avail_out));
	do {
		assert_true(compress_unpack(c, room, sizeof room, &got));
		total += got;
	} while (compress_has_pending(c));
	assert_int_equal(total, n);
	deflateEnd(&z);
	mem_free(zeros);
	mem_free(packed);
	compress_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_no_deflate),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_bomb),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
