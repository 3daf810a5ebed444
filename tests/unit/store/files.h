/* files.h - what a partition of fixture.h has on the disk: found, removed, spoilt. */
#ifndef TEST_STORE_FILES_H
#define TEST_STORE_FILES_H

#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>

static inline void remove_below(struct world *w, const char *name)
{
	char path[160];
	snprintf(path, sizeof path, "%s/%s", w->opts.path, name);
	nftw(path, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Names of files in a folder that end so, in order of age (they begin with a number). */
static inline size_t list(struct world *w, const char *folder, const char *end, char out[8][480])
{
	char path[160];
	size_t n = 0;
	snprintf(path, sizeof path, "%s/%s", w->opts.path, folder);
	struct dirent **v;
	int found = scandir(path, &v, NULL, alphasort);
	assert_true(found >= 0);
	for (int i = 0; i < found; i++) {
		size_t len = strlen(v[i]->d_name);
		if (len > strlen(end) && strcmp(v[i]->d_name + len - strlen(end), end) == 0 &&
		    n < 8)
			snprintf(out[n++], 480, "%s/%s", path, v[i]->d_name);
		free(v[i]);
	}
	free(v);
	return n;
}

static inline void spoil(const char *path, off_t at, size_t n)
{
	char junk[4096];
	int fd = open(path, O_WRONLY);
	memset(junk, 0x5a, sizeof junk);
	assert_true(fd >= 0);
	for (; n > 0; n -= n < sizeof junk ? n : sizeof junk, at += (off_t)sizeof junk)
		assert_true(pwrite(fd, junk, n < sizeof junk ? n : sizeof junk, at) > 0);
	close(fd);
}

#endif
