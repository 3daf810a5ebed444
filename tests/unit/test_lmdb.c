/* test_lmdb.c - files that liblmdb has made, read without it: whole, cut, changed at each byte, and while they are
 * written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/lmdb.h"

enum { MANY = 12000, VALUE_MAX = 16 * 1024 };

struct world {
	char path[64], lock[80];
	MDB_env *env;
	MDB_dbi dbi;
};

/* ---- files -------------------------------------------------------------------------------------- */

static void open_world(struct world *w, unsigned flags)
{
	MDB_txn *txn;
	snprintf(w->path, sizeof w->path, "/tmp/test_lmdb.%d", (int)getpid());
	snprintf(w->lock, sizeof w->lock, "%s-lock", w->path);
	unlink(w->path);
	assert_int_equal(mdb_env_create(&w->env), 0);
	assert_int_equal(mdb_env_set_mapsize(w->env, 64 << 20), 0);
	assert_int_equal(mdb_env_open(w->env, w->path, MDB_NOSUBDIR | MDB_NOSYNC, 0600), 0);
	assert_int_equal(mdb_txn_begin(w->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, NULL, flags | MDB_CREATE, &w->dbi), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void close_world(struct world *w)
{
	mdb_env_close(w->env);
	unlink(w->path);
	unlink(w->lock);
}

static size_t value_size(size_t i)
{
	return i % 97 == 0 ? 9000 : i % 31 == 0 ? 3000 : i % 40;
}

static void put_pair(MDB_txn *txn, const struct world *w, size_t i, char mark)
{
	char key[32], value[VALUE_MAX];
	snprintf(key, sizeof key, "key%05zu.example.org", i * 2);
	memset(value, mark, sizeof value);
	MDB_val k = { strlen(key), key }, v = { value_size(i), value };
	assert_int_equal(mdb_put(txn, w->dbi, &k, &v, 0), 0);
}

static void fill(const struct world *w, size_t from, size_t n, char mark)
{
	MDB_txn *txn;
	assert_int_equal(mdb_txn_begin(w->env, NULL, 0, &txn), 0);
	for (size_t i = from; i < from + n; i++)
		put_pair(txn, w, i, mark);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

struct bytes {
	char *p;
	size_t n;
	size_t reads;            /* so many were made */
	void (*between)(void *); /* called before read number `at` */
	void *arg;
	size_t at;
	const struct world *world;
	FILE *file; /* or NULL: p */
};

static bool read_bytes(void *arg, uint64_t at, void *into, size_t n)
{
	struct bytes *b = arg;
	if (b->between != NULL && b->reads == b->at)
		b->between(b->arg);
	b->reads++;
	if (b->file != NULL)
		return pread(fileno(b->file), into, n, (off_t)at) == (ssize_t)n;
	if (at > b->n || n > b->n - at)
		return false;
	memcpy(into, b->p + at, n);
	return true;
}

static void load(const struct world *w, struct bytes *b)
{
	FILE *f = fopen(w->path, "rb");
	assert_non_null(f);
	assert_int_equal(fseek(f, 0, SEEK_END), 0);
	b->n = (size_t)ftell(f);
	b->p = mem_alloc(b->n);
	rewind(f);
	assert_int_equal(fread(b->p, 1, b->n, f), b->n);
	fclose(f);
}

static enum lmdb_answer find(struct bytes *b, const char *key, struct buf *out, const char **why)
{
	struct lmdb_source src = { read_bytes, b };
	buf_clear(out);
	return lmdb_find(&src, span_str(key), out, why);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void check_pair(struct bytes *b, size_t i, char mark)
{
	struct buf out = BUF_INIT(VALUE_MAX);
	const char *why;
	char key[32];
	snprintf(key, sizeof key, "key%05zu.example.org", i * 2);
	assert_int_equal(find(b, key, &out, &why), LMDB_FOUND);
	assert_int_equal(buf_len(&out), value_size(i));
	for (size_t k = 0; k < buf_len(&out); k++)
		assert_int_equal(buf_span(&out).p[k], mark);
	snprintf(key, sizeof key, "key%05zu.example.org", i * 2 + 1);
	assert_int_equal(find(b, key, &out, &why), LMDB_ABSENT);
	assert_int_equal(buf_len(&out), 0);
	buf_end(&out);
}

static void test_each_key(void **state)
{
	struct world w;
	struct bytes b = { 0 };
	struct buf out = BUF_INIT(VALUE_MAX);
	const char *why;
	open_world(&w, 0);
	load(&w, &b);
	assert_int_equal(find(&b, "key", &out, &why), LMDB_ABSENT); /* nothing is in it */
	MEM_FREE(&b.p);
	fill(&w, 0, MANY, 'a');
	fill(&w, MANY / 2, MANY / 2, 'b');
	load(&w, &b);
	for (size_t i = 0; i < MANY; i++)
		check_pair(&b, i, i < MANY / 2 ? 'a' : 'b');
	assert_int_equal(find(&b, "", &out, &why), LMDB_ABSENT);
	assert_int_equal(find(&b, "a", &out, &why), LMDB_ABSENT);
	assert_int_equal(find(&b, "zzz", &out, &why), LMDB_ABSENT);
	struct lmdb_source src = { read_bytes, &b };
	struct lmdb_state s;
	assert_true(lmdb_read_state(&src, &s, &why));
	assert_int_equal(s.entries, MANY);
	assert_true(s.depth >= 3);
	out.max = 8999; /* value 0 has 9000 bytes */
	assert_int_equal(find(&b, "key00000.example.org", &out, &why), LMDB_BROKEN);
	assert_non_null(why);
	mem_free(b.p);
	buf_end(&out);
	close_world(&w);
}

static void test_orders(void **state)
{
	static const unsigned flags[] = { MDB_DUPSORT, MDB_REVERSEKEY, MDB_INTEGERKEY };
	for (size_t i = 0; i < COUNT_OF(flags); i++) {
		struct world w;
		struct bytes b = { 0 };
		struct buf out = BUF_INIT(VALUE_MAX);
		const char *why;
		open_world(&w, flags[i]);
		load(&w, &b);
		assert_int_equal(find(&b, "key", &out, &why), LMDB_BROKEN);
		mem_free(b.p);
		close_world(&w);
	}
}

/* Whatever stands in the file: the true value, no value, or "broken", and an end. */
static void check_harmless(struct bytes *b, struct buf *out)
{
	static const char *const keys[] = { "key00000.example.org", "key00062.example.org",
		"key00194.example.org", "key00200.example.org", "no" };
	const char *why;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		b->reads = 0;
		enum lmdb_answer a = find(b, keys[i], out, &why);
		assert_true(b->reads < 8 * (LMDB_DEPTH_MAX + 8));
		assert_true((a == LMDB_BROKEN) == (why != NULL));
	}
}

static void test_damage(void **state)
{
	struct world w;
	struct bytes b = { 0 };
	struct buf out = BUF_INIT(VALUE_MAX);
	open_world(&w, 0);
	fill(&w, 0, 120, 'a');
	load(&w, &b);
	size_t whole = b.n;
	for (b.n = 0; b.n < whole; b.n += 61)
		check_harmless(&b, &out);
	b.n = whole;
	for (size_t i = 0; i < whole; i++) {
		static const unsigned char masks[] = { 0xff, 0x01, 0x80 };
		if (i % 4096 > 700 && i % 11 != 0) /* values are no structure */
			continue;
		for (size_t k = 0; k < COUNT_OF(masks); k++) {
			b.p[i] = (char)(b.p[i] ^ masks[k]);
			check_harmless(&b, &out);
			b.p[i] = (char)(b.p[i] ^ masks[k]);
		}
	}
	mem_free(b.p);
	buf_end(&out);
	close_world(&w);
}

static void change_all(void *arg)
{
	fill(arg, 0, 400, 'b');
	fill(arg, 0, 400, 'c');
	fill(arg, 0, 400, 'c'); /* pages of the first tree are used again by now */
}

/* Three transactions between any two reads of ours: the value is the old one or the new one, and whole. */
static void test_written_meanwhile(void **state)
{
	struct buf out = BUF_INIT(VALUE_MAX);
	for (size_t at = 0; at < 8; at++) {
		struct world w;
		const char *why;
		open_world(&w, 0);
		fill(&w, 0, 400, 'a');
		struct bytes b = { .between = change_all, .arg = &w, .at = at };
		b.file = fopen(w.path, "rb");
		assert_int_equal(find(&b, "key00194.example.org", &out, &why), LMDB_FOUND);
		assert_int_equal(buf_len(&out), 9000);
		char first = buf_span(&out).p[0];
		assert_true(first == (b.reads > at ? 'c' : 'a'));
		for (size_t i = 0; i < 9000; i++)
			assert_int_equal(buf_span(&out).p[i], first);
		fclose(b.file);
		close_world(&w);
	}
	buf_end(&out);
}

static void change_again(void *arg)
{
	struct bytes *b = arg;
	fill(b->world, 0, 4, 'd');
	b->at = b->reads + 1;
}

static void test_never_still(void **state)
{
	struct world w;
	struct buf out = BUF_INIT(VALUE_MAX);
	const char *why;
	open_world(&w, 0);
	fill(&w, 0, 400, 'a');
	struct bytes b = { .between = change_again, .world = &w };
	b.arg = &b;
	b.file = fopen(w.path, "rb");
	assert_int_equal(find(&b, "key00194.example.org", &out, &why), LMDB_BROKEN);
	assert_string_equal(why, "the file changes faster than it can be read");
	assert_int_equal(buf_len(&out), 0);
	fclose(b.file);
	buf_end(&out);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_key),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_written_meanwhile),
		cmocka_unit_test(test_never_still),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
