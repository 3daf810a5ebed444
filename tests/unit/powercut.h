/* powercut.h - a model of a disk that loses power: this program's fdatasync() and fsync() stand before libc's and note
 * what is durable, of every file below a folder: its bytes, and for a folder its names.
 *
 * At chosen syncs, before anything of them counts, a copy of the folder is made as it may be found after a cut: every
 * sector that was written since the last sync of its file is there or not, and so is every name that came or
 * went. The syncs of the log happen in its own thread, while the owner goes on: as in life. */
#ifndef TEST_POWERCUT_H
#define TEST_POWERCUT_H

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

enum { CUT_FILES_MAX = 512, CUT_NAMES_MAX = 256, CUT_SECTOR = 512, CUT_CUTS_MAX = 64 };

/* How unsynced sectors fare in a copy. */
enum cut_mode { CUT_NOTHING_LEFT, CUT_ALL_THERE, CUT_TORN, CUT_MODES };

struct cut_file {
	int fd; /* held, so that the inode is not used again */
	ino_t inode;
	char *bytes; /* owned: durable */
	size_t n;
};
struct cut_name {
	char name[256];
	ino_t inode;
};
struct cut_folder {
	char path[256];
	struct cut_name v[CUT_NAMES_MAX]; /* durable */
	size_t n;
};

static struct {
	pthread_mutex_t lock;
	char root[128];
	const char *const
	    *parts; /* folders below root that are copied, "" is root itself; NULL at the end */
	const char *but; /* what below root does not count: after another boot nobody believes it */
	bool on;
	struct cut_file files[CUT_FILES_MAX];
	size_t file_n;
	struct cut_folder folders[4];
	size_t folder_n;
	unsigned syncs, every; /* a cut before every so many */
	unsigned cuts;
	atomic_uint acknowledged;        /* by the test */
	unsigned promised[CUT_CUTS_MAX]; /* what was acknowledged at each cut */
	uint64_t random;
} cut = { .lock = PTHREAD_MUTEX_INITIALIZER, .random = 88172645463325252u };

static uint64_t cut_random(void)
{
	cut.random ^= cut.random << 13;
	cut.random ^= cut.random >> 7;
	return cut.random ^= cut.random << 17;
}

static size_t cut_read(int fd, char **out)
{
	struct stat st;
	CHECK(fstat(fd, &st) == 0);
	*out = mem_alloc((size_t)st.st_size + 1);
	ssize_t n = pread(fd, *out, (size_t)st.st_size, 0);
	return n < 0 ? 0 : (size_t)n;
}

static struct cut_file *cut_file(ino_t inode)
{
	for (size_t i = 0; i < cut.file_n; i++)
		if (cut.files[i].inode == inode)
			return &cut.files[i];
	return NULL;
}

static size_t cut_list(const char *path, struct cut_name *v)
{
	size_t n = 0;
	DIR *d = opendir(path);
	struct dirent *e;
	while (d != NULL && (e = readdir(d)) != NULL) {
		struct stat st;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		CHECK(n < CUT_NAMES_MAX);
		(void)snprintf(v[n].name, sizeof v[n].name, "%s", e->d_name);
		v[n++].inode = st.st_ino;
	}
	if (d != NULL)
		closedir(d);
	return n;
}

/* ---- a copy as it may be found ----------------------------------------------------------------------------- */

static void cut_write_file(const char *to, const char *from, ino_t inode, enum cut_mode mode)
{
	const struct cut_file *f = cut_file(inode);
	char *now = NULL;
	size_t now_n = 0, old_n = f != NULL ? f->n : 0;
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == inode)
		now_n = cut_read(fd, &now);
	else
		mode = CUT_NOTHING_LEFT; /* it was removed */
	if (fd >= 0)
		close(fd);
	size_t n = mode == CUT_NOTHING_LEFT ? old_n : now_n;
	if (mode == CUT_TORN && now_n > old_n)
		n = old_n + cut_random() % (now_n - old_n + 1);
	char *out = mem_alloc(n + 1);
	memset(out, 0, n + 1);
	if (f != NULL)
		memcpy(out, f->bytes, old_n < n ? old_n : n);
	for (size_t at = 0; at < n && mode != CUT_NOTHING_LEFT; at += CUT_SECTOR) {
		size_t left = n - at < CUT_SECTOR ? n - at : CUT_SECTOR;
		if (mode == CUT_ALL_THERE || cut_random() % 2 == 0)
			memcpy(out + at, now + at, left);
	}
	fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && write(fd, out, n) == (ssize_t)n);
	close(fd);
	mem_free(out);
	mem_free(now);
}

static bool cut_has(const struct cut_name *v, size_t n, const struct cut_name *one)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].inode == one->inode && strcmp(v[i].name, one->name) == 0)
			return true;
	return false;
}

static void cut_copy_names(const char *from, const char *to, const struct cut_name *v, size_t n,
    const struct cut_name *other, size_t other_n, enum cut_mode mode)
{
	for (size_t i = 0; i < n; i++) {
		char a[600], b[600];
		bool sure = cut_has(other, other_n, &v[i]);
		if (!sure && (mode == CUT_NOTHING_LEFT || cut_random() % 2 == 0))
			continue;
		(void)snprintf(a, sizeof a, "%s/%s", from, v[i].name);
		(void)snprintf(b, sizeof b, "%s/%s", to, v[i].name);
		cut_write_file(b, a, v[i].inode, mode);
	}
}

static void cut_copy_folder(const char *part, const char *copy, enum cut_mode mode)
{
	static struct cut_name now[CUT_NAMES_MAX];
	char from[256], to[300];
	struct cut_folder none = { .n = 0 }, *durable = &none;
	(void)snprintf(from, sizeof from, "%s%s", cut.root, part);
	(void)snprintf(to, sizeof to, "%s%s", copy, part);
	(void)mkdir(to, 0700);
	for (size_t i = 0; i < cut.folder_n; i++)
		if (strcmp(cut.folders[i].path, from) == 0)
			durable = &cut.folders[i];
	size_t n = cut_list(from, now);
	/* What is durable, and then what came since; a removed name may be back. */
	cut_copy_names(from, to, durable->v, durable->n, now, n, CUT_ALL_THERE);
	for (size_t i = 0; i < n; i++)
		if (!cut_has(durable->v, durable->n, &now[i]) && mode != CUT_NOTHING_LEFT)
			cut_copy_names(from, to, &now[i], 1, &now[i], cut_random() % 2, mode);
	for (size_t i = 0; i < durable->n; i++) {
		char a[600], b[600];
		(void)snprintf(a, sizeof a, "%s/%s", from, durable->v[i].name);
		(void)snprintf(b, sizeof b, "%s/%s", to, durable->v[i].name);
		if (access(b, F_OK) == 0)
			cut_write_file(b, a, durable->v[i].inode, mode);
	}
}

/* Below ROOT.cutN. */
static void cut_now(void)
{
	char copy[200];
	if (cut.cuts == CUT_CUTS_MAX)
		return;
	cut.promised[cut.cuts] = atomic_load(&cut.acknowledged);
	(void)snprintf(copy, sizeof copy, "%s.cut%u", cut.root, cut.cuts);
	enum cut_mode mode = (enum cut_mode)(cut.cuts % CUT_MODES);
	for (size_t i = 0; cut.parts[i] != NULL; i++)
		cut_copy_folder(cut.parts[i], copy, mode);
	cut.cuts++;
}

/* ---- in the place of libc's ----------------------------------------------------------------------------------- */

static bool cut_is_ours(int fd, char *path, size_t size)
{
	char link[64];
	(void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, size - 1);
	path[n < 0 ? 0 : n] = '\0';
	size_t root = strlen(cut.root);
	return cut.on && strncmp(path, cut.root, root) == 0 &&
	       (path[root] == '/' || path[root] == '\0') &&
	       (cut.but == NULL || strncmp(path + root, cut.but, strlen(cut.but)) != 0);
}

static void cut_keep_folder(const char *path, const struct cut_name *v, size_t n)
{
	size_t i = 0;
	while (i < cut.folder_n && strcmp(cut.folders[i].path, path) != 0)
		i++;
	CHECK(i < sizeof cut.folders / sizeof cut.folders[0]);
	cut.folder_n = i == cut.folder_n ? i + 1 : cut.folder_n;
	(void)snprintf(cut.folders[i].path, sizeof cut.folders[i].path, "%s", path);
	memcpy(cut.folders[i].v, v, n * sizeof *v);
	cut.folders[i].n = n;
}

static void cut_keep_file(int fd, ino_t inode, char *take_bytes, size_t n)
{
	struct cut_file *f = cut_file(inode);
	if (f == NULL) {
		CHECK(cut.file_n < CUT_FILES_MAX);
		f = &cut.files[cut.file_n++];
		*f = (struct cut_file){ .fd = dup(fd), .inode = inode };
	}
	mem_free(f->bytes);
	f->bytes = take_bytes;
	f->n = n;
}

static int cut_sync(int fd, const char *name)
{
	static struct cut_name names[CUT_NAMES_MAX];
	int (*real)(int);
	char path[256], *bytes = NULL;
	struct stat st;
	*(void **)&real = dlsym(RTLD_NEXT, name);
	if (!cut_is_ours(fd, path, sizeof path) || fstat(fd, &st) != 0)
		return real(fd);
	pthread_mutex_lock(&cut.lock);
	if (++cut.syncs % cut.every == 0)
		cut_now();
	/* What is written while it syncs may not be durable after it. */
	size_t n = S_ISDIR(st.st_mode) ? cut_list(path, names) : cut_read(fd, &bytes);
	if (S_ISDIR(st.st_mode))
		cut_keep_folder(path, names, n);
	else
		cut_keep_file(fd, st.st_ino, bytes, n);
	pthread_mutex_unlock(&cut.lock);
	return real(fd);
}

int fsync(int fd)
{
	return cut_sync(fd, "fsync");
}

int fdatasync(int fd)
{
	return cut_sync(fd, "fdatasync");
}

static void cut_begin(const char *root, const char *const *parts, const char *but, unsigned every)
{
	cut.parts = parts;
	cut.but = but;
	(void)snprintf(cut.root, sizeof cut.root, "%s", root);
	cut.every = every;
	cut.on = true;
}

static void cut_end(void)
{
	cut.on = false;
	for (size_t i = 0; i < cut.file_n; i++) {
		close(cut.files[i].fd);
		mem_free(cut.files[i].bytes);
	}
	cut.file_n = cut.folder_n = 0;
}

#endif
