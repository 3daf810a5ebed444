/* watched_file.h - a file that is read whole, and again when it changes: what tells one state of it from
 * another. */
#ifndef DIRECTORY_WATCHED_FILE_H
#define DIRECTORY_WATCHED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "net/loop.h"

struct file_id {
	bool there;
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec modified, changed;
};

bool file_id_same_inode(const struct file_id *a, const struct file_id *b);
bool file_id_same(const struct file_id *a, const struct file_id *b);
struct file_id file_id_now(const char *path); /* .there is false when it is not to be seen */

/* Is the file worth reading: another than the one that was `tried`, and not being written in place (then it
 * keeps its inode and is read when it has not changed since it was last seen)? */
bool file_id_is_news(
    const struct file_id *now, const struct file_id *tried, const struct file_id *last_seen);

/* The file's bytes in memory of the caller's (*text_out, to be freed also on failure); *id_out: the state
 * that was read. NULL, or why not (a constant). */
const char *file_read(
    const char *path, uint64_t size_max, struct file_id *id_out, char **text_out, size_t *n_out);

/* A file that is looked at each second, as long as the watch lives. `load` reads it, with file_read(path, max, &w->tried,
 * ...): once within file_watch_begin(), then from the loop whenever it is news. */
struct file_watch {
	const char *path; /* borrowed */
	void (*load)(void *arg);
	void *arg;
	struct timer timer;
	struct file_id tried, last_seen;
};
void file_watch_begin(
    struct file_watch *w, struct loop *l, const char *path, void (*load)(void *arg), void *arg);
void file_watch_end(struct file_watch *w);

#endif
