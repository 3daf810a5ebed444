/* snapshot.c - step 5 of 6, beside the index: durable copies of it. Before: partition_keep.c says when; after:
 * partition_recover.c restores one. Owns the files in the snapshots folder. */
#include "store-backend/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/mem.h"

enum { CHUNK = 256 * 1024 };

static bool path_of(char out[SNAPSHOT_PATH_SIZE], const char *dir, const char *name)
{
	int n = snprintf(out, SNAPSHOT_PATH_SIZE, "%s/%s", dir, name);
	return n > 0 && n < SNAPSHOT_PATH_SIZE;
}

bool snapshot_path(char out[SNAPSHOT_PATH_SIZE], const char *dir, const struct snapshot *s)
{
	char name[64];
	snprintf(name, sizeof name, "%016llx-%08x.mdb", (unsigned long long)s->covered, s->crc);
	return path_of(out, dir, name);
}

static bool parse_hex(const char *p, size_t n, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < n; i++) {
		char c = p[i];
		if (ascii_is_digit((unsigned char)c))
			*out = *out << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*out = *out << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	return true;
}

static bool parse_name(const char *name, struct snapshot *out)
{
	uint64_t crc;
	if (strlen(name) != 29 || name[16] != '-' || strcmp(name + 25, ".mdb") != 0 ||
	    !parse_hex(name, 16, &out->covered) || !parse_hex(name + 17, 8, &crc))
		return false;
	out->crc = (uint32_t)crc;
	return true;
}

/* ---- copying --------------------------------------------------------------------------------------------- */

/* Reads all of `from` and writes it to `to`, unless that is -1. */
static err_t pass_on(int from, int to, uint32_t *crc_out, uint64_t *bytes_out)
{
	char *chunk = mem_alloc(CHUNK);
	err_t err = ERR_OK;
	*crc_out = 0;
	*bytes_out = 0;
	while (!err) {
		ssize_t n = pread(from, chunk, CHUNK, (off_t)*bytes_out);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = ERR_IO;
		if (n <= 0)
			break;
		*crc_out = hash_crc32c(*crc_out, chunk, (size_t)n);
		*bytes_out += (uint64_t)n;
		if (to >= 0)
			err = fd_write_all(to, span_of(chunk, (size_t)n));
	}
	mem_free(chunk);
	return err;
}

/* The copy as a file called "tmp", on the disk. */
static err_t write_copy(struct snapshot_job *j, const char *tmp)
{
	int fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = index_writer_copy(j->writer, fd);
	if (!err && fsync(fd) != 0)
		err = err_from_errno(errno);
	if (!err)
		err = pass_on(fd, -1, &j->made.crc, &j->bytes);
	close(fd);
	return err;
}

void snapshot_make(void *arg)
{
	struct snapshot_job *j = arg;
	char tmp[SNAPSHOT_PATH_SIZE], path[SNAPSHOT_PATH_SIZE];
	uint64_t began = clock_mono_ms();
	struct index_state state;
	j->what = "copy";
	j->err = path_of(tmp, j->dir, "tmp") ? write_copy(j, tmp) : ERR_TOO_LONG;
	if (!j->err) {
		j->what = "check";
		j->err = index_copy_state(tmp, &state);
	}
	if (!j->err) {
		j->what = "name";
		j->made.covered = state.covered;
		if (!snapshot_path(path, j->dir, &j->made))
			j->err = ERR_TOO_LONG;
		else if (rename(tmp, path) != 0)
			j->err = err_from_errno(errno);
		else
			j->err = fd_sync_dir(j->dir);
	}
	if (j->err)
		(void)unlink(tmp);
	j->ms = clock_mono_ms() - began;
}

/* ---- the folder ------------------------------------------------------------------------------------------- */

err_t snapshot_prepare(const char *dir)
{
	char tmp[SNAPSHOT_PATH_SIZE];
	if (!path_of(tmp, dir, "tmp"))
		return ERR_TOO_LONG;
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	if (unlink(tmp) != 0 && errno != ENOENT)
		return err_from_errno(errno);
	return ERR_OK;
}

static int by_age(const void *a, const void *b)
{
	const struct snapshot *x = a, *y = b;
	return (x->covered < y->covered) - (x->covered > y->covered);
}

size_t snapshot_list(const char *dir, struct snapshot out[SNAPSHOTS_MAX])
{
	DIR *d = opendir(dir);
	struct dirent *e;
	size_t n = 0;
	while (d != NULL && n < SNAPSHOTS_MAX && (e = readdir(d)) != NULL)
		n += parse_name(e->d_name, &out[n]);
	if (d != NULL)
		closedir(d);
	qsort(out, n, sizeof *out, by_age);
	return n;
}

err_t snapshot_restore(const char *dir, const struct snapshot *s, const char *to)
{
	char from[SNAPSHOT_PATH_SIZE], tmp[SNAPSHOT_PATH_SIZE];
	uint32_t crc = 0;
	uint64_t bytes = 0;
	int n = snprintf(tmp, sizeof tmp, "%s.tmp", to);
	if (!snapshot_path(from, dir, s) || n >= (int)sizeof tmp)
		return ERR_TOO_LONG;
	int in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return err_from_errno(errno);
	int out = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	err_t err = out < 0 ? err_from_errno(errno) : pass_on(in, out, &crc, &bytes);
	if (!err && crc != s->crc)
		err = ERR_CORRUPT;
	close(in);
	if (out >= 0)
		close(out);
	if (!err && rename(tmp, to) != 0)
		err = err_from_errno(errno);
	if (err)
		(void)unlink(tmp);
	return err;
}

bool snapshot_is_good(const char *dir, const struct snapshot *s)
{
	char path[SNAPSHOT_PATH_SIZE];
	uint32_t crc = 0;
	uint64_t bytes;
	int fd = snapshot_path(path, dir, s) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	bool good = pass_on(fd, -1, &crc, &bytes) == ERR_OK && crc == s->crc;
	close(fd);
	return good;
}

err_t snapshot_take(const char *dir, const struct snapshot *s, const char *to)
{
	char from[SNAPSHOT_PATH_SIZE];
	if (!snapshot_path(from, dir, s))
		return ERR_TOO_LONG;
	return rename(from, to) == 0 ? ERR_OK : err_from_errno(errno);
}

struct snapshot snapshot_trim(const char *dir)
{
	struct snapshot v[SNAPSHOTS_MAX], none = { 0 };
	char path[SNAPSHOT_PATH_SIZE];
	size_t n = snapshot_list(dir, v);
	for (size_t i = SNAPSHOTS_KEPT; i < n; i++)
		if (snapshot_path(path, dir, &v[i]))
			(void)unlink(path);
	return n < SNAPSHOTS_KEPT ? none : v[SNAPSHOTS_KEPT - 1];
}
