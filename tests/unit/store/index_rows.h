/* index_rows.h - everything that a closed index holds, as rows that two of them can be compared by. Include it from one
 * file of a test only. */
#ifndef TEST_INDEX_ROWS_H
#define TEST_INDEX_ROWS_H

#include "fixture.h"

#include "base/buf.h"
#include "store-backend/index_write.h"

enum { ROWS_MAX = 64 * 1024 * 1024 };

/* Who writes the index and up to where differs, and what the log holds of it. */
static bool is_of_the_file(struct span row)
{
	static const char *const keys[] = { "meta", "base", "caches" };
	for (size_t i = 0; i < 3; i++)
		if (row.n > 3 + strlen(keys[i]) && row.p[0] == 0 &&
		    memcmp(row.p + 3, keys[i], strlen(keys[i])) == 0)
			return true;
	return false;
}

/* A closed index row by row; pieces_out: and in larger pieces. */
static struct buf rows_of(const char *dir, struct buf *pieces_out, size_t *size_out)
{
	char path[96];
	err_t err;
	bool end = false;
	struct buf rows = BUF_INIT(ROWS_MAX), one = BUF_INIT(ROWS_MAX);
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	struct index_dump *d = index_dump_open(path, &err);
	assert_non_null(d);
	while (!end) {
		buf_clear(&one);
		assert_int_equal(index_dump_next(d, 1, &one, &end), ERR_OK);
		if (!is_of_the_file(buf_span(&one)))
			buf_add_span(&rows, buf_span(&one));
	}
	index_dump_close(&d);
	d = index_dump_open(path, &err);
	for (end = pieces_out == NULL; !end; *size_out = buf_len(pieces_out))
		assert_int_equal(index_dump_next(d, *size_out + 10000, pieces_out, &end), ERR_OK);
	index_dump_close(&d);
	buf_end(&one);
	assert_true(buf_ok(&rows));
	return rows;
}

#endif
