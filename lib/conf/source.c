/* source.c - where configuration bytes come from: the disk, or the bundle of a master that has read
 * the disk. Every answer is kept, so that a source which was used can be packed. Owns the bytes.
 *
 * Packed form: "PSTNCNF1", then records of kind (1 byte), lengths of name and bytes (8 hex digits
 * each), name, bytes. Written and read on one host by one program, so no more than framing. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"

#include "conf/arena.h"
#include "conf/source.h"

enum { PACK_HEAD = 17, ENTRIES_MAX = 4096, GLOB_BYTES_MAX = 64 * 1024 };
static const struct span pack_magic = { "PSTNCNF1", 8 };

/* What an entry answers; also the byte in the packed form. */
enum entry_kind {
	ENTRY_MAIN = 'M', /* name: the main path; bytes: the working directory */
	ENTRY_FILE = 'F',
	ENTRY_FAILED = 'X', /* bytes: the reason */
	ENTRY_ENV = 'E',
	ENTRY_NO_ENV = 'N',
	ENTRY_GLOB = 'G'
};

struct entry {
	struct entry *next;
	enum entry_kind kind;
	char *name;  /* owned */
	char *bytes; /* owned; NUL behind n */
	size_t n;
};

struct conf_source {
	bool packed;         /* answers from entries only */
	struct entry *first; /* owned; the first is ENTRY_MAIN */
	struct entry **last;
	size_t count;
};

static void set_bytes(struct entry *e, struct span bytes)
{
	e->bytes = mem_alloc(bytes.n + 1);
	e->n = bytes.n;
	if (bytes.n > 0)
		memcpy(e->bytes, bytes.p, bytes.n);
}

static struct entry *put_entry(
    struct conf_source *s, enum entry_kind kind, struct span name, struct span bytes)
{
	struct entry *e = MEM_NEW(struct entry);
	e->kind = kind;
	e->name = mem_span_str(name);
	set_bytes(e, bytes);
	*s->last = e;
	s->last = &e->next;
	s->count++;
	return e;
}

static struct conf_source *source_new(bool packed)
{
	struct conf_source *s = MEM_NEW(struct conf_source);
	s->packed = packed;
	s->last = &s->first;
	return s;
}

struct conf_source *conf_source_disk(const char *path)
{
	struct conf_source *s = source_new(false);
	char *cwd = getcwd(NULL, 0);
	put_entry(s, ENTRY_MAIN, span_str(path), span_str(cwd == NULL ? "/" : cwd));
	free(cwd); /* glibc's own allocation */
	return s;
}

void conf_source_free(struct conf_source **s)
{
	if (*s == NULL)
		return;
	for (struct entry *e = (*s)->first, *next; e != NULL; e = next) {
		next = e->next;
		mem_wipe(e->bytes, e->n);
		mem_free(e->bytes);
		mem_free(e->name);
		mem_free(e);
	}
	MEM_FREE(s);
}

bool conf_source_pack(const struct conf_source *s, struct buf *out)
{
	buf_add_span(out, pack_magic);
	for (const struct entry *e = s->first; e != NULL; e = e->next) {
		size_t name_n = strlen(e->name);
		buf_printf(out, "%c%08zx%08zx", e->kind, name_n, e->n);
		buf_add(out, e->name, name_n);
		buf_add(out, e->bytes, e->n);
	}
	return buf_ok(out);
}

static bool take_hex(struct span s, size_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (!ascii_is_digit((unsigned char)c) && (c < 'a' || c > 'f'))
			return false;
		*out = *out * 16 + (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return true;
}

/* One record off the front of *rest. */
static bool take_entry(struct conf_source *s, struct span *rest)
{
	static const char kinds[] = { ENTRY_MAIN, ENTRY_FILE, ENTRY_FAILED, ENTRY_ENV, ENTRY_NO_ENV,
		ENTRY_GLOB };
	size_t name_n, n;
	struct span r = *rest;
	if (r.n < PACK_HEAD || memchr(kinds, r.p[0], sizeof kinds) == NULL ||
	    (r.p[0] == ENTRY_MAIN) != (s->first == NULL) || s->count == ENTRIES_MAX)
		return false;
	if (!take_hex(span_of(r.p + 1, 8), &name_n) || !take_hex(span_of(r.p + 9, 8), &n))
		return false;
	if (name_n > r.n - PACK_HEAD || n > r.n - PACK_HEAD - name_n)
		return false;
	struct span name = span_of(r.p + PACK_HEAD, name_n);
	if (span_find(name, '\0') != SIZE_MAX)
		return false;
	put_entry(s, (enum entry_kind)r.p[0], name, span_of(name.p + name_n, n));
	*rest = span_from(r, PACK_HEAD + name_n + n);
	return true;
}

struct conf_source *conf_source_unpack(struct span packed)
{
	struct conf_source *s = source_new(true);
	bool ok = span_starts(packed, pack_magic);
	packed = span_from(packed, pack_magic.n);
	while (ok && packed.n > 0)
		ok = take_entry(s, &packed);
	if (!ok || s->first == NULL)
		conf_source_free(&s);
	return s;
}

const char *source_path(const struct conf_source *s)
{
	return s->first->name;
}

const char *source_resolve(
    const struct conf_source *s, struct arena *a, const char *base_file, struct span path)
{
	struct buf full = BUF_INIT(64 * 1024);
	struct span base = span_str(base_file);
	size_t slash = span_rfind(base, '/');
	if (path.n > 0 && path.p[0] == '/')
		return arena_str(a, path);
	if (base.n == 0 || base.p[0] != '/') {
		buf_add_str(&full, s->first->bytes);
		buf_add_char(&full, '/');
	}
	if (slash != SIZE_MAX)
		buf_add_span(&full, span_first(base, slash + 1));
	buf_add_span(&full, path);
	const char *out = arena_str(a, buf_ok(&full) ? buf_span(&full) : path);
	buf_end(&full);
	return out;
}

static struct entry *find(
    const struct conf_source *s, const char *name, enum entry_kind yes, enum entry_kind no)
{
	for (struct entry *e = s->first; e != NULL; e = e->next)
		if ((e->kind == yes || e->kind == no) && strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

/* Reads an open file whole. NULL: fine, else the reason. */
static const char *read_all(int fd, struct buf *out)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	for (;;) {
		char *p;
		size_t room = buf_room(out, 64 * 1024, &p);
		char extra;
		ssize_t n = read(fd, room > 0 ? p : &extra, room > 0 ? room : 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return strerror(errno);
		if (n == 0)
			return NULL;
		if (room == 0)
			return "longer than 1 MiB";
		buf_added(out, (size_t)n);
	}
}

bool conf_file_read(const char *path, struct buf *out, const char **why_out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	*why_out = fd < 0 ? strerror(errno) : read_all(fd, out);
	if (fd >= 0)
		close(fd);
	return *why_out == NULL;
}

static const struct entry *read_disk(struct conf_source *s, const char *path)
{
	struct buf bytes = BUF_INIT(CONF_FILE_MAX);
	const char *why;
	const struct entry *e = conf_file_read(path, &bytes, &why)
				    ? put_entry(s, ENTRY_FILE, span_str(path), buf_span(&bytes))
				    : put_entry(s, ENTRY_FAILED, span_str(path), span_str(why));
	buf_wipe_end(&bytes);
	return e;
}

bool conf_source_replace(struct conf_source *s, const char *path, struct span bytes)
{
	struct entry *e = find(s, path, ENTRY_FILE, ENTRY_FILE);
	if (e == NULL)
		return false;
	char *old = e->bytes;
	mem_wipe(old, e->n);
	set_bytes(e, bytes);
	mem_free(old);
	return true;
}

bool conf_source_bytes(const struct conf_source *s, const char *path, struct span *out)
{
	const struct entry *e = find(s, path, ENTRY_FILE, ENTRY_FILE);
	*out = e != NULL ? span_of(e->bytes, e->n) : SPAN_NONE;
	return e != NULL;
}

bool source_read(struct conf_source *s, const char *path, struct span *out, const char **why_out)
{
	const struct entry *e = find(s, path, ENTRY_FILE, ENTRY_FAILED);
	*out = SPAN_NONE;
	if (e == NULL && (s->packed || s->count >= ENTRIES_MAX)) {
		*why_out =
		    s->packed ? "not among the files that the master has read" : "too many files";
		return false;
	}
	if (e == NULL)
		e = read_disk(s, path);
	if (e->kind == ENTRY_FAILED) {
		*why_out = e->bytes;
		return false;
	}
	*out = span_of(e->bytes, e->n);
	return true;
}

bool source_env(struct conf_source *s, const char *name, struct span *out)
{
	const struct entry *e = find(s, name, ENTRY_ENV, ENTRY_NO_ENV);
	if (e == NULL && !s->packed && s->count < ENTRIES_MAX) {
		const char *value = getenv(name);
		enum entry_kind kind = value == NULL ? ENTRY_NO_ENV : ENTRY_ENV;
		e = put_entry(s, kind, span_str(name), span_str(value));
	}
	if (e == NULL || e->kind == ENTRY_NO_ENV)
		return false;
	*out = span_of(e->bytes, e->n);
	return true;
}

static const char *glob_disk(const char *pattern, struct buf *out)
{
	glob_t g;
	int rc = glob(pattern, 0, NULL, &g);
	const char *why = NULL;
	if (rc == GLOB_NOMATCH)
		return NULL;
	if (rc != 0)
		return "cannot list the folder";
	if (g.gl_pathc > CONF_INCLUDE_MAX)
		why = "matches more files than may be included";
	for (size_t i = 0; why == NULL && i < g.gl_pathc; i++)
		buf_add(out, g.gl_pathv[i], strlen(g.gl_pathv[i]) + 1);
	globfree(&g);
	return buf_ok(out) ? why : "matches too many names";
}

bool source_glob(struct conf_source *s, const char *pattern, struct span *out, const char **why_out)
{
	const struct entry *e = find(s, pattern, ENTRY_GLOB, ENTRY_GLOB);
	*out = SPAN_NONE;
	*why_out = "too many files";
	if (e == NULL && !s->packed && s->count < ENTRIES_MAX) {
		struct buf paths = BUF_INIT(GLOB_BYTES_MAX);
		*why_out = glob_disk(pattern, &paths);
		if (*why_out == NULL)
			e = put_entry(s, ENTRY_GLOB, span_str(pattern), buf_span(&paths));
		buf_end(&paths);
	}
	if (e == NULL)
		return false;
	*out = span_of(e->bytes, e->n);
	return true;
}
