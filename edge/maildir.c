/* maildir.c - a message into a maildir: written in tmp, made durable, renamed into new. See mailbox.h.
 *
 * The name is time.id_recipient.host,S=size, the same for every attempt. Owns a descriptor of each folder and of the
 * file while it is written. */
#include "edge/mailbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/fd.h"

enum { NAME_SIZE = 256, TMP_SIZE = NAME_SIZE + 32, BLOCK = 64 * 1024, FOLDERS_MAX = 10000 };

struct maildir {
	const struct mailbox_ask *ask;
	struct buf *why;
	int root, tmp, fresh, cur; /* owned; -1: not open */
	bool made;                 /* folders, just now */
	uint64_t size;             /* of the message */
	char stem[NAME_SIZE];      /* of the name, up to the comma */
	char name[NAME_SIZE];
};

static int later(struct maildir *m, const char *enhanced, const char *what)
{
	const char *code = errno == ENOSPC || errno == EDQUOT ? "4.2.2" : enhanced;
	buf_printf(m->why, "%s %s: %s", code, what, strerror(errno));
	return EX_TEMPFAIL;
}

/* ---- folders ------------------------------------------------------------------------------------ */

static int open_dir(struct maildir *m, const char *name)
{
	if (mkdirat(m->root, name, 0700) == 0)
		m->made = true;
	else if (errno != EEXIST)
		return -1;
	return openat(m->root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The folder itself may be a link that its owner has made; what it leads to must be the owner's. */
static bool open_root(struct maildir *m)
{
	struct stat st;
	if (mkdir(m->ask->path, 0700) != 0 && errno != EEXIST)
		return false;
	m->root = open(m->ask->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->root < 0 || fstat(m->root, &st) != 0)
		return false;
	if (st.st_uid == geteuid())
		return true;
	errno = EPERM;
	return false;
}

/* The name of the maildir. Where its user may not read the folder it is in, all of the file system is made durable. */
static bool sync_own_name(const struct maildir *m)
{
	int above = openat(m->root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (above < 0)
		return syncfs(m->root) == 0;
	bool ok = fsync(above) == 0;
	int cause = errno;
	close(above);
	errno = cause;
	return ok;
}

/* cur comes last: who finds it knows that the names of the others are durable, whoever has made them. */
static bool open_folders(struct maildir *m)
{
	bool whole = faccessat(m->root, "cur", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	m->tmp = open_dir(m, "tmp");
	m->fresh = m->tmp < 0 ? -1 : open_dir(m, "new");
	if (m->fresh < 0)
		return false;
	if ((m->made || !whole) && (fsync(m->root) != 0 || !sync_own_name(m)))
		return false;
	m->cur = open_dir(m, "cur");
	return m->cur >= 0 && (whole || fsync(m->root) == 0);
}

static int open_all(struct maildir *m)
{
	if (!open_root(m))
		return later(m, "4.2.0", "the maildir cannot be used");
	return open_folders(m) ? EX_OK
			       : later(m, "4.2.0", "a folder of the maildir cannot be used");
}

static void close_all(struct maildir *m)
{
	int fds[] = { m->root, m->tmp, m->fresh, m->cur };
	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Calls fn for each file of a folder until it says true. */
static bool each_file(
    int at, const char *name, bool (*fn)(void *arg, int dir, const char *), void *arg)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool met = false;
	struct dirent *e;
	while (d != NULL && !met && (e = readdir(d)) != NULL)
		met = e->d_name[0] != '.' && fn(arg, fd, e->d_name);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	return met;
}

/* ---- was it here? ------------------------------------------------------------------------------- */

static bool has_stem(const struct maildir *m, const char *name)
{
	size_t n = strlen(m->stem);
	return strncmp(name, m->stem, n) == 0 && (name[n] == ',' || name[n] == '\0');
}

static bool is_it(void *arg, int dir, const char *name)
{
	return has_stem(arg, name);
}

static bool remove_half(void *arg, int dir, const char *name)
{
	const struct maildir *m = arg;
	if (strncmp(name, m->stem, strlen(m->stem)) == 0)
		unlinkat(dir, name, 0);
	return false;
}

/* A client may have moved it from new to cur, and given it flags. */
static bool is_there(struct maildir *m)
{
	if (faccessat(m->fresh, m->name, F_OK, 0) == 0)
		return true;
	if (!m->ask->again)
		return false;
	each_file(m->root, "tmp", remove_half, m);
	return each_file(m->root, "cur", is_it, m) || each_file(m->root, "new", is_it, m);
}

/* It may have been killed before it made that durable, or the client did not. */
static int keep_it(struct maildir *m)
{
	return fsync(m->fresh) == 0 && fsync(m->cur) == 0
		   ? EX_OK
		   : later(m, "4.3.0", "the message cannot be written");
}

/* ---- quota -------------------------------------------------------------------------------------- */

struct sum {
	uint64_t bytes;
	size_t folders;
};

/* ",S=" in the name says it without a look at the file (Maildir++). */
static bool add_size(void *arg, int dir, const char *name)
{
	struct sum *s = arg;
	const char *size = strstr(name, ",S=");
	struct span digits = size != NULL ? span_str(size + 3) : SPAN_NONE;
	size_t n = 0;
	uint64_t bytes;
	struct stat st;
	while (n < digits.n && ascii_is_digit((unsigned char)digits.p[n]))
		n++;
	if (span_u64(span_first(digits, n), INT64_MAX, &bytes))
		s->bytes += bytes;
	else if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		s->bytes += (uint64_t)st.st_size;
	return false;
}

static void add_folder(struct sum *s, int root, const char *folder)
{
	static const char *const parts[] = { "new", "cur" };
	char path[NAME_SIZE + 8];
	for (size_t i = 0; i < 2; i++)
		if (snprintf(path, sizeof path, "%s/%s", folder, parts[i]) < (int)sizeof path)
			each_file(root, path, add_size, s);
}

static bool is_over_quota(struct maildir *m)
{
	struct sum s = { 0, 0 };
	struct dirent *e;
	int fd = dup(m->root);
	DIR *d = m->ask->quota == 0 || fd < 0 ? NULL : fdopendir(fd);
	if (d == NULL && fd >= 0)
		close(fd);
	if (d == NULL)
		return false;
	add_folder(&s, m->root, ".");
	while ((e = readdir(d)) != NULL && s.folders++ < FOLDERS_MAX)
		if (e->d_name[0] == '.' && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0)
			add_folder(&s, m->root, e->d_name);
	closedir(d);
	return s.bytes + m->size > m->ask->quota;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static bool copy(const struct maildir *m, int fd)
{
	static char block[BLOCK];
	for (uint64_t at = 0; at < m->size;) {
		ssize_t n = pread(m->ask->message, block, sizeof block, (off_t)at);
		if (n <= 0)
			return false;
		err_t err = fd_write_all(fd, span_of(block, (size_t)n));
		if (err) {
			errno = err == ERR_NO_SPACE ? ENOSPC : EIO;
			return false;
		}
		at += (uint64_t)n;
	}
	return fsync(fd) == 0;
}

static int write_it(struct maildir *m)
{
	char half[TMP_SIZE];
	snprintf(half, sizeof half, "%s.%ld", m->stem, (long)getpid());
	unlinkat(m->tmp, half, 0);
	int fd = openat(m->tmp, half, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return later(m, "4.2.0", "no file in tmp");
	bool ok = copy(m, fd);
	int cause = errno;
	ok = close(fd) == 0 && ok;
	errno = ok ? 0 : cause;
	if (ok && renameat(m->tmp, half, m->fresh, m->name) == 0 && fsync(m->fresh) == 0)
		return EX_OK;
	int status = later(m, "4.3.0", "the message cannot be written");
	unlinkat(m->tmp, half, 0);
	return status;
}

/* "/" and ":" mean something in a name, "," begins what the stem does not have. */
static void put_name(struct maildir *m)
{
	char host[100];
	snprintf(host, sizeof host, "%s", m->ask->hostname);
	for (char *p = host; *p != '\0'; p++)
		if (strchr("/:,", *p) != NULL)
			*p = '_';
	snprintf(m->stem, sizeof m->stem, "%llu.%s_%u.%s", (unsigned long long)m->ask->arrived_s,
	    m->ask->id.s, m->ask->recipient, host);
	snprintf(m->name, sizeof m->name, "%.200s,S=%llu", m->stem, (unsigned long long)m->size);
}

static int put(struct maildir *m)
{
	struct stat st;
	if (fstat(m->ask->message, &st) != 0)
		return later(m, "4.3.0", "the message cannot be read");
	m->size = (uint64_t)st.st_size;
	put_name(m);
	int status = open_all(m);
	if (status != EX_OK)
		return status;
	if (is_there(m))
		return keep_it(m);
	if (is_over_quota(m)) {
		buf_add_str(m->why, "4.2.2 the mailbox is full");
		return EX_TEMPFAIL;
	}
	return write_it(m);
}

int maildir_put(const struct mailbox_ask *a, struct buf *why)
{
	struct maildir m = { .ask = a, .why = why, .root = -1, .tmp = -1, .fresh = -1, .cur = -1 };
	int status = put(&m);
	close_all(&m);
	return status;
}
