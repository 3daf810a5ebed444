/* partition_text.c - files of text indexes that are of no use any more: their mailbox is gone, they are damaged, or nobody wants such
 * indexes. Looked for at start and once an hour, some names at a time. Before: imap/text_fill.c, which makes them.
 *
 * A damaged one has been marked (text_index.h), so that nobody has begun to use it since; it goes once those who did are
 * done. Owns the open folder and a reader of the index. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "store-backend/partition_internal.h"
#include "store-backend/text_index.h"

#define text_sweep_MAGIC 0x7e4753e9u

enum { SOON_MS = 1000, EVERY_MS = 3600 * 1000, NAMES_AT_ONCE = 200, MARK_AGE_S = 600 };

struct text_sweep {
	uint32_t magic;
	struct partition *p; /* borrowed */
	struct index *index; /* owned: the writer's, for reading */
	struct timer timer;
	DIR *dir; /* owned; NULL: no pass is going on */
};

static DIR *open_folder(const struct partition *p)
{
	char path[PARTITION_PATH_SIZE];
	return partition_file(p, "text", path) ? opendir(path) : NULL;
}

static bool is_old(const struct text_sweep *x, const char *name)
{
	struct stat st;
	return fstatat(dirfd(x->dir), name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (int64_t)(clock_wall_us() / 1000000) - st.st_mtim.tv_sec >= MARK_AGE_S;
}

static bool is_of_no_use(
    const struct text_sweep *x, struct index_view *v, const char *name, uint64_t *mailbox_out)
{
	struct index_mailbox m;
	bool mark;
	if (!text_index_name(name, mailbox_out, &mark))
		return false;
	return !x->p->settings.text_index || (mark && is_old(x, name)) ||
	       !index_mailbox_get(v, *mailbox_out, &m);
}

/* False: that was all. */
static bool look_at_some(struct text_sweep *x, struct index_view *v)
{
	for (size_t i = 0; i < NAMES_AT_ONCE; i++) {
		const struct dirent *e = readdir(x->dir);
		uint64_t mailbox;
		if (e == NULL)
			return false;
		if (is_of_no_use(x, v, e->d_name, &mailbox))
			text_index_remove(x->p->path, mailbox);
	}
	return true;
}

static void on_timer(void *arg)
{
	struct text_sweep *x = OBJ(text_sweep, arg);
	bool more = false;
	if (x->dir == NULL)
		x->dir = open_folder(x->p);
	struct index_view *v = x->dir == NULL || x->p->failed ? NULL : index_view_begin(x->index);
	if (v != NULL)
		more = look_at_some(x, v);
	index_view_end(&v);
	if (!more && x->dir != NULL) {
		(void)closedir(x->dir);
		x->dir = NULL;
	}
	timer_set(&x->timer, more ? 1 : EVERY_MS);
}

struct text_sweep *text_sweep_new(struct partition *p)
{
	struct text_sweep *x = MEM_NEW(struct text_sweep);
	*x = (struct text_sweep){ .magic = text_sweep_MAGIC, .p = p };
	x->index = index_writer_reader(p->writer);
	timer_init(&x->timer, p->loop, on_timer, x);
	timer_set(&x->timer, SOON_MS);
	return x;
}

void text_sweep_free(struct text_sweep **xp)
{
	struct text_sweep *x = *xp;
	if (x == NULL)
		return;
	timer_clear(&x->timer);
	if (x->dir != NULL)
		(void)closedir(x->dir);
	index_close(&x->index);
	x->magic = 0;
	MEM_FREE(xp);
}

/* Uids of an index that was made anew from a damaged log may be of other messages than before. */
void text_sweep_all(const struct partition *p)
{
	DIR *dir = open_folder(p);
	const struct dirent *e;
	uint64_t mailbox;
	bool mark;
	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (text_index_name(e->d_name, &mailbox, &mark))
			text_index_remove(p->path, mailbox);
	if (dir != NULL)
		(void)closedir(dir);
}
