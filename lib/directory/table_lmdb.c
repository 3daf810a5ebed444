/* table_lmdb.c - a table as an LMDB file, read page by page (proto/lmdb.h): nothing is mapped, so a file that is cut or
 * damaged under us is an answer and no signal. A look-up reads a handful of pages, as a rule from the system's cache.
 *
 * Owns the descriptor of the file, and a timer that looks for another file in its place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

#include "directory/table_kind.h"
#include "directory/tables.h"
#include "directory/watched_file.h"

#define table_lmdb_MAGIC 0x7ab11bdbu

enum { LOOK_EVERY_MS = 1000, PATH_SIZE = 4096 };

struct table_lmdb {
	uint32_t magic;
	const struct table_conf *conf;
	struct timer timer;
	int fd;            /* owned; -1: none could be opened yet */
	struct file_id id; /* of fd */
	const char *told;  /* what is wrong with it, as the log knows; NULL: nothing */
};

/* ---- reading it ------------------------------------------------------------------------------- */

static bool read_at(void *arg, uint64_t at, void *into, size_t n)
{
	const int *fd = arg;
	size_t have = 0;
	while (have < n) {
		ssize_t got = pread(*fd, (char *)into + have, n - have, (off_t)(at + have));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

bool table_lmdb_state(int fd, struct lmdb_state *out, const char **why_out)
{
	return lmdb_read_state(&(struct lmdb_source){ read_at, &fd }, out, why_out);
}

enum lmdb_answer table_lmdb_find(int fd, struct span key, struct buf *out, const char **why_out)
{
	struct lmdb_source src = { read_at, &fd };
	char with_nul[TABLE_KEY_MAX + 1];
	enum lmdb_answer a = lmdb_find(&src, key, out, why_out);
	if (a == LMDB_ABSENT && key.n < sizeof with_nul) {
		memcpy(with_nul, key.p, key.n);
		with_nul[key.n] = '\0';
		a = lmdb_find(&src, span_of(with_nul, key.n + 1), out, why_out);
	}
	struct span value = buf_span(out);
	if (a == LMDB_FOUND && value.n > 0 && value.p[value.n - 1] == '\0')
		buf_cut(out, value.n - 1);
	return a;
}

/* ---- the file --------------------------------------------------------------------------------- */

static void tell(struct table_lmdb *t, const char *why)
{
	if (why != NULL && why != t->told)
		directory_log(TABLE_BROKEN, LOG_STR("table", t->conf->head.title),
		    LOG_STR("file", t->conf->path), LOG_STR("why", why));
	t->told = why;
}

/* liblmdb keeps a database in a folder, unless it was told not to. */
static const char *file_path(const struct table_lmdb *t, char out[PATH_SIZE])
{
	struct stat st;
	bool folder = stat(t->conf->path, &st) == 0 && S_ISDIR(st.st_mode);
	snprintf(out, PATH_SIZE, "%s%s", t->conf->path, folder ? "/data.mdb" : "");
	return out;
}

static void load(struct table_lmdb *t, const char *path, const struct file_id *id)
{
	struct lmdb_state state = { 0 };
	struct stat st;
	const char *why = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		tell(t, fd < 0 ? err_text(err_from_errno(errno)) : "not a regular file");
		if (fd >= 0)
			close(fd);
		return;
	}
	if (t->fd >= 0)
		close(t->fd);
	t->fd = fd;
	t->id = *id;
	if (table_lmdb_state(fd, &state, &why))
		directory_log(TABLE_LOADED, LOG_STR("table", t->conf->head.title),
		    LOG_STR("file", path), LOG_U64("keys", state.entries));
	tell(t, why);
}

static void look_again(struct table_lmdb *t)
{
	char path[PATH_SIZE];
	struct file_id now = file_id_now(file_path(t, path));
	if (t->fd < 0 || (now.there && !file_id_same_inode(&now, &t->id)))
		load(t, path, &now);
}

static void on_timer(void *arg)
{
	struct table_lmdb *t = OBJ(table_lmdb, arg);
	timer_set(&t->timer, LOOK_EVERY_MS);
	look_again(t);
}

/* ---- the table -------------------------------------------------------------------------------- */

static void *lmdb_open(const struct table_env *env)
{
	struct table_lmdb *t = MEM_NEW(struct table_lmdb);
	t->magic = table_lmdb_MAGIC;
	t->conf = env->conf;
	t->fd = -1;
	timer_init(&t->timer, env->loop, on_timer, t);
	timer_set(&t->timer, LOOK_EVERY_MS);
	look_again(t);
	return t;
}

static void lmdb_close(void *table)
{
	struct table_lmdb *t = OBJ(table_lmdb, table);
	timer_clear(&t->timer);
	if (t->fd >= 0)
		close(t->fd);
	t->magic = 0;
	mem_free(t);
}

static bool lmdb_look(void *table, struct span key, struct buf *out, struct table_found *found)
{
	struct table_lmdb *t = OBJ(table_lmdb, table);
	const char *why = "there is no such file";
	enum lmdb_answer a = t->fd < 0 ? LMDB_BROKEN : table_lmdb_find(t->fd, key, out, &why);
	if (t->fd >= 0)
		tell(t, a == LMDB_BROKEN ? why : NULL);
	found->answer = a == LMDB_FOUND    ? TABLE_FOUND
			: a == LMDB_ABSENT ? TABLE_ABSENT
					   : TABLE_UNKNOWN;
	found->why = a == LMDB_BROKEN ? why : NULL;
	return true;
}

const struct table_kind table_lmdb_kind = {
	.open = lmdb_open,
	.close = lmdb_close,
	.look = lmdb_look,
};
