/* key_table.c - postern table build, table get: tables of access rules as files, without a program that runs.
 *
 * An LMDB file is made beside its place, durable, and then put there: readers see the old one or the new one, whole. Owns the
 * file until then. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "directory/table_kind.h"
#include "directory/table_text.h"
#include "directory/watched_file.h"

#include "admin/admin.h"

enum { PATH_SIZE = 4096, TEXT_MAX = 1 << 30 };

struct place {
	char path[PATH_SIZE], fresh[PATH_SIZE]; /* where it goes; where it is made */
	char lock[PATH_SIZE];                   /* of programs that open it with liblmdb */
	struct stat like;                       /* whose owner and mode it gets */
};

static int fail(const char *path, const char *why)
{
	fprintf(stderr, "postern: %s: %s\n", path, why);
	return ADMIN_UNAVAILABLE;
}

static const char *last_error(void)
{
	return err_text(err_from_errno(errno));
}

/* ---- the text --------------------------------------------------------------------------------- */

struct table_text {
	char *bytes;     /* owned; what map points into */
	struct map *map; /* owned */
};

static void text_end(struct table_text *t)
{
	map_free(&t->map);
	mem_free(t->bytes);
}

static bool text_read(const char *path, struct table_text *out)
{
	struct file_id id;
	size_t n, line = 0;
	*out = (struct table_text){ 0 };
	const char *why = file_read(path, TEXT_MAX, &id, &out->bytes, &n);
	if (why != NULL) {
		fail(path, why);
		return false;
	}
	out->bytes = mem_resize(out->bytes, n + 1);
	out->bytes[n] = '\0';
	out->map = table_text_parse(out->bytes, n, &line, &why);
	if (out->map == NULL)
		fprintf(stderr, "%s:%zu: %s\n", path, line, why);
	return out->map != NULL;
}

/* ---- rows in the order of LMDB ------------------------------------------------------------------ */

struct row {
	struct span key, value;
};

struct rows {
	struct row *v; /* owned */
	size_t n, bytes;
};

static bool take_row(void *arg, struct span key, void *value)
{
	struct rows *r = arg;
	struct row *row = &r->v[r->n++];
	*row = (struct row){ key, span_str(value) };
	r->bytes += row->key.n + row->value.n;
	return true;
}

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	return span_cmp(x->key, y->key);
}

static struct rows rows_of(struct map *map)
{
	struct rows r = { .v = mem_alloc((map_count(map) + 1) * sizeof *r.v) };
	map_each(map, take_row, &r);
	qsort(r.v, r.n, sizeof *r.v, by_key);
	return r;
}

/* ---- the file ----------------------------------------------------------------------------------- */

/* What is there already is replaced only if it is such a file. NULL, or why not. */
static const char *look_at_old(struct place *p)
{
	struct lmdb_state state;
	const char *why = NULL;
	int fd = open(p->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? NULL : last_error();
	if (fstat(fd, &p->like) < 0)
		why = last_error();
	else if (!S_ISREG(p->like.st_mode) || !table_lmdb_state(fd, &state, &why))
		why = "it is there and no LMDB file: remove it first";
	close(fd);
	return why;
}

static const char *find_place(const char *source, const char *target, struct place *out)
{
	struct stat st;
	bool named = target != NULL;
	bool folder = named && stat(target, &st) == 0 && S_ISDIR(st.st_mode);
	int n = snprintf(out->path, PATH_SIZE, "%s%s", named ? target : source,
	    folder   ? "/data.mdb"
	    : !named ? ".lmdb"
		     : "");
	if (n < 0 || n >= PATH_SIZE - 16)
		return "the name is too long";
	if (folder)
		snprintf(out->lock, PATH_SIZE, "%.4000s/lock.mdb", target);
	else
		snprintf(out->lock, PATH_SIZE, "%.4080s-lock", out->path);
	snprintf(out->fresh, PATH_SIZE, "%.4080s.XXXXXX", out->path);
	return stat(source, &out->like) == 0 ? look_at_old(out) : last_error();
}

static int put_rows(MDB_txn *txn, const struct rows *r)
{
	MDB_dbi dbi;
	int rc = mdb_dbi_open(txn, NULL, 0, &dbi);
	for (size_t i = 0; i < r->n && rc == 0; i++) {
		const struct row *row = &r->v[i];
		MDB_val k = { row->key.n, (void *)(uintptr_t)row->key.p };
		MDB_val v = { row->value.n, (void *)(uintptr_t)row->value.p };
		rc = mdb_put(txn, dbi, &k, &v, MDB_APPEND);
	}
	return rc;
}

/* 0, or an error of liblmdb. A value of more than half a page takes pages of its own. */
static int write_rows(const char *path, const struct rows *r)
{
	MDB_env *env;
	MDB_txn *txn;
	size_t room = ((r->bytes + r->n * 32) * 4 + (1u << 20)) & ~(size_t)0xffff;
	int rc = mdb_env_create(&env);
	if (rc != 0)
		return rc;
	rc = mdb_env_set_mapsize(env, room);
	if (rc == 0)
		rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
	if (rc == 0)
		rc = mdb_txn_begin(env, NULL, 0, &txn);
	if (rc == 0) {
		rc = put_rows(txn, r);
		if (rc == 0)
			rc = mdb_txn_commit(txn); /* synced */
		else
			mdb_txn_abort(txn);
	}
	mdb_env_close(env);
	return rc;
}

/* Owner and mode as before, or those of the text. */
static const char *dress(int fd, const struct stat *like)
{
	if (fchown(fd, like->st_uid, like->st_gid) != 0 && errno != EPERM)
		return last_error();
	if (fchmod(fd, like->st_mode & 0777) != 0 || fsync(fd) != 0)
		return last_error();
	return NULL;
}

static const char *replace(struct place *p, const struct rows *r)
{
	int fd = mkostemp(p->fresh, O_CLOEXEC);
	if (fd < 0)
		return last_error();
	int rc = write_rows(p->fresh, r);
	const char *why = rc != 0 ? mdb_strerror(rc) : dress(fd, &p->like);
	close(fd);
	if (why == NULL && rename(p->fresh, p->path) != 0)
		why = last_error();
	if (why != NULL) {
		(void)unlink(p->fresh);
		return why;
	}
	/* Who has the old file open keeps the old lock with it: it says nothing about this one. */
	(void)unlink(p->lock);
	err_t err = fd_sync_dir_of(p->path);
	return err ? err_text(err) : NULL;
}

static void say(const struct admin_args *a, const char *path, size_t keys)
{
	struct buf name = BUF_INIT(8 * PATH_SIZE);
	if (a->json) {
		fmt_json_string(&name, span_str(path));
		printf("[{\"file\":%s,\"keys\":%zu}]\n", buf_cstr(&name), keys);
	} else {
		printf("%s: %zu keys\n", path, keys);
	}
	buf_end(&name);
}

int admin_table_build(const struct admin_args *a)
{
	struct place *p = MEM_NEW(struct place);
	struct table_text text;
	int status = ADMIN_CONFIG;
	if (text_read(a->words[2], &text)) {
		const char *why =
		    find_place(a->words[2], a->word_count > 3 ? a->words[3] : NULL, p);
		struct rows r = rows_of(text.map);
		if (why == NULL)
			why = replace(p, &r);
		status = why == NULL ? ADMIN_OK : fail(p->path, why);
		if (why == NULL)
			say(a, p->path, r.n);
		mem_free(r.v);
	}
	text_end(&text);
	mem_free(p);
	return status;
}

/* ---- one key -------------------------------------------------------------------------------------- */

static enum lmdb_answer look(const char *path, struct span key, struct buf *out, const char **why)
{
	char folder[PATH_SIZE];
	struct stat st;
	struct lmdb_state state;
	bool inside = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
	snprintf(folder, sizeof folder, "%.4080s%s", path, inside ? "/data.mdb" : "");
	int fd = open(folder, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		*why = last_error();
		return LMDB_BROKEN;
	}
	bool lmdb = table_lmdb_state(fd, &state, why);
	enum lmdb_answer answer = lmdb ? table_lmdb_find(fd, key, out, why) : LMDB_BROKEN;
	close(fd);
	return answer;
}

static void say_value(const struct admin_args *a, struct span key, struct span value)
{
	struct buf out = BUF_INIT(8 * (TABLE_KEY_MAX + TABLE_VALUE_MAX) + 64);
	if (a->json) {
		buf_add_str(&out, "[{\"key\":");
		fmt_json_string(&out, key);
		buf_add_str(&out, ",\"value\":");
		fmt_json_string(&out, value);
		buf_add_str(&out, "}]");
	} else {
		fmt_line_text(&out, value, TABLE_VALUE_MAX);
	}
	puts(buf_cstr(&out));
	buf_end(&out);
}

int admin_table_get(const struct admin_args *a)
{
	char lower[TABLE_KEY_MAX];
	struct span key = span_str(a->words[3]);
	struct buf value = BUF_INIT(TABLE_VALUE_MAX + 1);
	const char *why = NULL;
	enum lmdb_answer answer = LMDB_ABSENT;
	if (key.n < sizeof lower) {
		span_lower_to(lower, key);
		answer = look(a->words[2], span_of(lower, key.n), &value, &why);
	}
	if (answer == LMDB_FOUND)
		say_value(a, span_of(lower, key.n), buf_span(&value));
	int status = answer == LMDB_FOUND    ? ADMIN_OK
		     : answer == LMDB_ABSENT ? ADMIN_ABSENT
					     : fail(a->words[2], why);
	buf_end(&value);
	return status;
}
