/* sim_log.c - step 1 of a simulation: files, lines, their order; see sim_log.h. Owns the maps. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "metermaid/record.h"
#include "metermaid/sim_log.h"

struct mapped {
	const char *p;
	size_t n;
	unsigned worker;
};

struct place {
	uint64_t us, at; /* of the line in its file */
	uint32_t seq, file;
};

struct worker {
	char name[16]; /* as in the file's name; or the file is a worker of its own */
	uint64_t last_us;
	size_t last; /* its last line, after sorting */
	bool said_end;
};

struct sim_log {
	struct mapped *files;
	struct worker *workers;
	size_t file_n, worker_n;
	struct place *v;
	size_t n, room, unreadable;
	struct buf scratch;
};

struct sim_log *sim_log_new(void)
{
	struct sim_log *l = MEM_NEW(struct sim_log);
	l->files = mem_array(SIM_FILES_MAX, sizeof *l->files);
	l->workers = mem_array(SIM_FILES_MAX, sizeof *l->workers);
	l->scratch = BUF_INIT(DECISION_LINE_MAX);
	return l;
}

void sim_log_free(struct sim_log **l)
{
	struct sim_log *gone = *l;
	*l = NULL;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < gone->file_n; i++)
		munmap((void *)(uintptr_t)gone->files[i].p, gone->files[i].n);
	mem_free(gone->files);
	mem_free(gone->workers);
	mem_free(gone->v);
	buf_end(&gone->scratch);
	mem_free(gone);
}

/* ---- lines ---- */

static void add_line(struct sim_log *l, uint32_t file, size_t at, struct span line)
{
	struct decision d;
	if (!decision_parse_time(&line, &d)) {
		l->unreadable++;
		return;
	}
	if (l->n == l->room) {
		l->room = l->room == 0 ? 65536 : l->room * 2;
		l->v = mem_grow(l->v, l->room, sizeof *l->v);
	}
	struct worker *w = &l->workers[l->files[file].worker];
	w->said_end = w->said_end || d.letter == 'X';
	l->v[l->n++] = (struct place){ .us = d.us, .at = at, .seq = d.seq, .file = file };
}

/* The last line of a file that is being written, or was when its worker died, may lack its end. */
static bool add_lines(struct sim_log *l, uint32_t file, struct buf *why)
{
	struct span rest = span_of(l->files[file].p, l->files[file].n);
	while (rest.n > 0) {
		const char *end = memchr(rest.p, '\n', rest.n);
		if (end == NULL)
			return true;
		size_t n = (size_t)(end - rest.p);
		if (l->n == SIM_LINES_MAX) {
			buf_add_str(why, "there are too many lines");
			return false;
		}
		add_line(l, file, (size_t)(rest.p - l->files[file].p), span_first(rest, n));
		rest = span_from(rest, n + 1);
	}
	return true;
}

/* ---- files ---- */

static unsigned worker_of(struct sim_log *l, const char *path)
{
	const char *base = strrchr(path, '/');
	base = base != NULL ? base + 1 : path;
	bool named = record_is_name(base);
	for (size_t i = l->worker_n; named && i-- > 0;)
		if (memcmp(l->workers[i].name, base + 17, sizeof l->workers[i].name) == 0)
			return (unsigned)i;
	if (named)
		memcpy(l->workers[l->worker_n].name, base + 17, sizeof l->workers[0].name);
	return (unsigned)l->worker_n++;
}

static bool map_file(struct sim_log *l, int fd, const char *path, struct buf *why)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || l->file_n == SIM_FILES_MAX) {
		buf_printf(why, "%s: not a file, or too many of them", path);
		return false;
	}
	if (st.st_size == 0)
		return true;
	struct mapped *m = &l->files[l->file_n];
	m->n = (size_t)st.st_size;
	m->p = mmap(NULL, m->n, PROT_READ, MAP_PRIVATE, fd, 0);
	if (m->p == MAP_FAILED) {
		buf_printf(why, "%s: %s", path, strerror(errno));
		return false;
	}
	m->worker = worker_of(l, path);
	return add_lines(l, (uint32_t)l->file_n++, why);
}

static bool add_file(struct sim_log *l, const char *path, struct buf *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		buf_printf(why, "%s: %s", path, strerror(errno));
		return false;
	}
	bool ok = map_file(l, fd, path, why);
	close(fd);
	return ok;
}

static bool add_folder(struct sim_log *l, DIR *dir, const char *path, struct buf *why)
{
	struct dirent *e;
	bool ok = true;
	while (ok && (e = readdir(dir)) != NULL) {
		struct buf file = BUF_INIT(8192);
		if (!record_is_name(e->d_name))
			continue;
		buf_printf(&file, "%s/%s", path, e->d_name);
		ok = add_file(l, buf_cstr(&file), why);
		buf_end(&file);
	}
	return ok;
}

bool sim_log_add(struct sim_log *l, const char *path, struct buf *why)
{
	DIR *dir = opendir(path);
	if (dir == NULL)
		return add_file(l, path, why);
	bool ok = add_folder(l, dir, path, why);
	closedir(dir);
	return ok;
}

/* ---- order ---- */

static int earlier_first(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	if (x->us != y->us)
		return x->us < y->us ? -1 : 1;
	if (x->seq != y->seq)
		return x->seq < y->seq ? -1 : 1;
	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

void sim_log_sort(struct sim_log *l)
{
	if (l->n > 0)
		qsort(l->v, l->n, sizeof *l->v, earlier_first);
	for (size_t i = 0; i < l->n; i++)
		l->workers[l->files[l->v[i].file].worker].last = i;
}

size_t sim_log_count(const struct sim_log *l)
{
	return l->n;
}

size_t sim_log_unreadable(const struct sim_log *l)
{
	return l->unreadable;
}

bool sim_log_line(struct sim_log *l, size_t at, struct sim_line *out)
{
	CHECK(at < l->n);
	const struct mapped *f = &l->files[l->v[at].file];
	struct span line = span_of(f->p + l->v[at].at, f->n - l->v[at].at);
	const struct worker *w = &l->workers[f->worker];
	out->worker = f->worker;
	out->worker_is_over = w->last == at && !w->said_end;
	if (decision_parse(span_cut(&line, '\n'), &l->scratch, &out->d))
		return true;
	l->unreadable++;
	return false;
}
