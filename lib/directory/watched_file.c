/* watched_file.c - stat and read of a file that somebody may be writing. Owns nothing. */
#include "directory/watched_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

enum { LOOK_EVERY_MS = 1000 };

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

bool file_id_same_inode(const struct file_id *a, const struct file_id *b)
{
	return a->there == b->there && a->dev == b->dev && a->ino == b->ino;
}

bool file_id_same(const struct file_id *a, const struct file_id *b)
{
	return file_id_same_inode(a, b) && a->size == b->size &&
	       same_time(a->modified, b->modified) && same_time(a->changed, b->changed);
}

struct file_id file_id_now(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? id_of(&st) : (struct file_id){ 0 };
}

bool file_id_is_news(
    const struct file_id *now, const struct file_id *tried, const struct file_id *last_seen)
{
	bool settled = file_id_same(now, last_seen) || !file_id_same_inode(now, tried);
	return settled && !file_id_same(now, tried);
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

static const char *read_open(
    int fd, uint64_t size_max, struct file_id *id_out, char **text_out, size_t *n_out)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_text(err_from_errno(errno));
	*id_out = id_of(&st);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	if ((uint64_t)st.st_size > size_max)
		return "larger than it may be (file_size_max, or size_max of a table)";
	*n_out = (size_t)st.st_size;
	*text_out = mem_alloc(*n_out);
	int err = read_all(fd, *text_out, *n_out);
	if (err != 0)
		return err_text(err_from_errno(err));
	struct file_id after = *id_out;
	if (fstat(fd, &st) == 0)
		after = id_of(&st);
	return file_id_same(&after, id_out) ? NULL : "changes while it is read";
}

const char *file_read(
    const char *path, uint64_t size_max, struct file_id *id_out, char **text_out, size_t *n_out)
{
	*id_out = (struct file_id){ 0 };
	*text_out = NULL;
	*n_out = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_text(err_from_errno(errno));
	const char *why = read_open(fd, size_max, id_out, text_out, n_out);
	close(fd);
	return why;
}

/* ---- looked at again and again --------------------------------------------------------------------- */

static void on_timer(void *arg)
{
	struct file_watch *w = arg;
	struct file_id now = file_id_now(w->path);
	bool news = file_id_is_news(&now, &w->tried, &w->last_seen);
	timer_set(&w->timer, LOOK_EVERY_MS);
	w->last_seen = now;
	if (!news)
		return;
	w->load(w->arg);
	w->tried = w->tried.there ? w->tried : now;
}

void file_watch_begin(
    struct file_watch *w, struct loop *l, const char *path, void (*load)(void *arg), void *arg)
{
	*w = (struct file_watch){ .path = path, .load = load, .arg = arg };
	timer_init(&w->timer, l, on_timer, w);
	load(arg);
	timer_set(&w->timer, LOOK_EVERY_MS);
}

void file_watch_end(struct file_watch *w)
{
	timer_clear(&w->timer);
}
