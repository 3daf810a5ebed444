/* by_file.c - the directory as an LDIF file: read at start, and again when it changes.
 *
 * A timer looks at the file each second. A changed file is read whole and parsed some entries per loop round
 * beside the content in force; only when all of it is good does it take its place. A file that keeps its inode
 * (written in place, perhaps not finished) is read when it has not changed for a second; one moved into place
 * is read at once. Owns the content, the reading in progress and the timer. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include "directory/backend.h"
#include "directory/content.h"
#include "directory/ldif.h"
#include "directory/tables.h"

#define file_backend_MAGIC 0xd12ef11eu

enum { LOOK_EVERY_MS = 1000, ENTRIES_PER_ROUND = 200, WHY_SIZE = 128 };

/* What tells one state of the file from another. */
struct file_id {
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified, changed;
};

/* A reading in progress. */
struct reading {
	struct file_id id;
	char *text; /* owned: the file's bytes */
	size_t text_n;
	struct ldif ldif;
	struct entry entry;
	struct content *content; /* owned until it is in force */
	uint64_t began_ms;
};

enum reading_state { READING_MORE, READING_DONE, READING_BAD };

struct file_backend {
	struct backend base; /* first */
	uint32_t magic;
	struct backend_env env;
	struct timer timer;
	struct soon soon;         /* next part of the reading */
	struct content *content;  /* owned; NULL until a first reading was good */
	struct reading *reading;  /* owned; NULL when there is none */
	struct file_id tried;     /* the state that was read last, good or bad */
	struct file_id last_seen; /* at the last look */
};

/* ---- the file ---- */

static struct file_id id_of(const struct stat *st)
{
	return (struct file_id){ .there = true,
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.modified = st->st_mtim,
		.changed = st->st_ctim };
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_inode(const struct file_id *a, const struct file_id *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino;
}

static bool same_id(const struct file_id *a, const struct file_id *b)
{
	return same_inode(a, b) && a->size == b->size && same_time(a->modified, b->modified) &&
	       same_time(a->changed, b->changed);
}

static void log_broken(const struct file_backend *f, size_t line, const char *why)
{
	directory_count(FILE_FAILURES);
	directory_log(FILE_BROKEN, LOG_STR("file", f->env.conf->file), LOG_U64("line", line),
	    LOG_STR("why", why));
}

/* Reads all of fd; 0 or an errno. Fewer bytes than the size mean that the file is being written. */
static int read_all(int fd, char *into, size_t n)
{
	size_t have = 0;
	while (have < n) {
		ssize_t got = read(fd, into + have, n - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? errno : EAGAIN;
		have += (size_t)got;
	}
	return 0;
}

static const char *read_open(struct reading *r, int fd, uint64_t size_max)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_text(err_from_errno(errno));
	r->id = id_of(&st);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	if ((uint64_t)st.st_size > size_max)
		return "larger than file_size_max";
	r->text_n = (size_t)st.st_size;
	r->text = mem_alloc(r->text_n);
	int err = read_all(fd, r->text, r->text_n);
	if (err != 0)
		return err_text(err_from_errno(err));
	struct file_id after = r->id;
	if (fstat(fd, &st) == 0)
		after = id_of(&st);
	return same_id(&after, &r->id) ? NULL : "changes while it is read";
}

/* NULL when r holds the file's bytes, else why not. */
static const char *read_file(struct reading *r, const struct directory_conf *conf)
{
	if (conf->file == NULL || conf->file[0] == '\0')
		return "the option `file` is missing";
	int fd = open(conf->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_text(err_from_errno(errno));
	const char *why = read_open(r, fd, conf->file_size_max);
	close(fd);
	return why;
}

/* ---- a reading ---- */

static void reading_free(struct reading **r)
{
	if (*r == NULL)
		return;
	ldif_end(&(*r)->ldif);
	entry_end(&(*r)->entry);
	content_free(&(*r)->content);
	if ((*r)->text != NULL)
		mem_wipe((*r)->text, (*r)->text_n);
	mem_free((*r)->text);
	MEM_FREE(r);
}

/* Starts reading the file as it is now; false: it cannot be read, which is logged. */
static bool reading_start(struct file_backend *f)
{
	struct reading *r = MEM_NEW(struct reading);
	r->began_ms = clock_mono_ms();
	entry_init(&r->entry);
	const char *why = read_file(r, f->env.conf);
	ldif_init(&r->ldif, span_of(r->text, r->text_n));
	f->tried = r->id;
	f->reading = r;
	if (why != NULL) {
		log_broken(f, 0, why);
		reading_free(&f->reading);
		return false;
	}
	r->content = content_new(f->env.conf);
	return true;
}

static enum reading_state reading_step(struct file_backend *f, size_t entries)
{
	struct reading *r = f->reading;
	while (entries-- > 0) {
		enum ldif_result got = ldif_next(&r->ldif, &r->entry);
		if (got == LDIF_END)
			return READING_DONE;
		if (got == LDIF_BAD) {
			log_broken(f, r->ldif.why_line, r->ldif.why);
			return READING_BAD;
		}
		const char *why = content_add(r->content, &r->entry);
		if (why != NULL) {
			log_broken(f, r->entry.line, why);
			return READING_BAD;
		}
	}
	return READING_MORE;
}

/* The reading is good: what it holds is in force from now on. */
static void reading_adopt(struct file_backend *f)
{
	struct reading *r = f->reading;
	if (content_count(r->content, RECORD_USER) == 0 && f->content != NULL &&
	    content_count(f->content, RECORD_USER) > 0) {
		log_broken(f, 0, "no user in it any more");
		return;
	}
	content_free(&f->content);
	f->content = r->content;
	r->content = NULL;
	directory_count(FILE_LOADS);
	directory_log(FILE_LOADED, LOG_STR("file", f->env.conf->file),
	    LOG_U64("users", content_count(f->content, RECORD_USER)),
	    LOG_U64("domains", content_count(f->content, RECORD_DOMAIN)),
	    LOG_U64("stores", content_count(f->content, RECORD_STORE)),
	    LOG_U64("ms", clock_mono_ms() - r->began_ms));
}

static void reading_go_on(struct file_backend *f, size_t entries)
{
	enum reading_state state = reading_step(f, entries);
	if (state == READING_MORE) {
		soon_set(f->env.loop, &f->soon);
		return;
	}
	if (state == READING_DONE)
		reading_adopt(f);
	reading_free(&f->reading);
}

static void on_soon(void *arg)
{
	struct file_backend *f = OBJ(file_backend, arg);
	reading_go_on(f, ENTRIES_PER_ROUND);
}

/* ---- looking at the file ---- */

static void on_timer(void *arg)
{
	struct file_backend *f = OBJ(file_backend, arg);
	struct stat st;
	struct file_id now = { 0 };
	timer_set(&f->timer, LOOK_EVERY_MS);
	if (f->reading != NULL)
		return;
	if (stat(f->env.conf->file, &st) == 0)
		now = id_of(&st);
	bool settled = same_id(&now, &f->last_seen) || !same_inode(&now, &f->tried);
	f->last_seen = now;
	if (same_id(&now, &f->tried) || !settled)
		return;
	if (reading_start(f))
		reading_go_on(f, ENTRIES_PER_ROUND);
	f->tried = f->tried.there ? f->tried : now;
}

/* ---- the back end ---- */

static struct backend *file_open(const struct backend_env *env)
{
	struct file_backend *f = MEM_NEW(struct file_backend);
	f->base.ops = &backend_file;
	f->magic = file_backend_MAGIC;
	f->env = *env;
	timer_init(&f->timer, env->loop, on_timer, f);
	soon_init(&f->soon, on_soon, f);
	if (reading_start(f))
		reading_go_on(f, SIZE_MAX);
	if (env->conf->file != NULL && env->conf->file[0] != '\0')
		timer_set(&f->timer, LOOK_EVERY_MS);
	return &f->base;
}

static void file_close(struct backend **b)
{
	struct file_backend *f = OBJ(file_backend, *b);
	*b = NULL;
	timer_clear(&f->timer);
	soon_clear(&f->soon);
	reading_free(&f->reading);
	content_free(&f->content);
	f->magic = 0;
	mem_free(f);
}

static bool file_healthy(const struct backend *b)
{
	return OBJ(file_backend, (void *)b)->content != NULL;
}

static enum answer file_look(
    struct backend *b, enum record_kind kind, struct span key, struct record **record_out)
{
	struct file_backend *f = OBJ(file_backend, b);
	return f->content == NULL ? ANSWER_AWAY : content_look(f->content, kind, key, record_out);
}

const struct backend_ops backend_file = {
	.open = file_open,
	.close = file_close,
	.healthy = file_healthy,
	.look = file_look,
};
