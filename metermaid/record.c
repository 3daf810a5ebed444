/* record.c - see record.h. Owns the open file and what is not yet written. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "metermaid/record.h"

enum { RETRY_MS = 10000, FILES_MAX = 65536 };

#define record_MAGIC 0x3e7e4ec0u

struct record {
	uint32_t magic;
	struct loop *loop;
	const struct metermaid_conf *conf;
	uint64_t name;
	void (*begin)(void *arg);
	void *arg;
	int fd; /* -1: none */
	uint64_t written;
	struct buf waiting;
	struct timer clock; /* flush, or the next try after a failure */
	bool failed;        /* one log line until it works again */
};

/* ---- the folder ---- */

static const char suffix[] = ".decisions";

static bool all_of(const char *s, size_t n, const char *set)
{
	return strspn(s, set) >= n;
}

bool record_is_name(const char *name)
{
	return strlen(name) == RECORD_NAME_LEN && all_of(name, 16, "0123456789") &&
	       name[16] == '-' && all_of(name + 17, 16, "0123456789abcdef") &&
	       strcmp(name + 33, suffix) == 0;
}

struct file {
	char name[RECORD_NAME_LEN + 1];
	uint64_t bytes;
};

static int older_first(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

/* Removes the oldest until all together have room for another one; others may do the same just now. */
static void make_room(const struct record *r, int dir_fd, struct file *v, size_t n)
{
	uint64_t sum = r->conf->record_file;
	for (size_t i = 0; i < n; i++)
		sum += v[i].bytes;
	qsort(v, n, sizeof *v, older_first);
	for (size_t i = 0; i < n && sum > r->conf->record_max; i++)
		if (unlinkat(dir_fd, v[i].name, 0) == 0 || errno == ENOENT)
			sum -= v[i].bytes;
}

static void tidy(const struct record *r)
{
	DIR *dir = opendir(r->conf->record);
	struct file *v = mem_array(FILES_MAX, sizeof *v);
	struct dirent *e;
	size_t n = 0;
	while (dir != NULL && n < FILES_MAX && (e = readdir(dir)) != NULL) {
		struct stat st;
		if (!record_is_name(e->d_name) ||
		    fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		memcpy(v[n].name, e->d_name, sizeof v[n].name);
		v[n++].bytes = (uint64_t)st.st_size;
	}
	if (dir != NULL) {
		make_room(r, dirfd(dir), v, n);
		closedir(dir);
	}
	mem_free(v);
}

/* ---- the file ---- */

static void fail(struct record *r, const char *why)
{
	if (!r->failed)
		log_write(&meter_events[METER_EV_RECORD_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("folder", r->conf->record), LOG_STR("why", why)));
	r->failed = true;
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	buf_clear(&r->waiting);
	timer_set(&r->clock, RETRY_MS);
}

static void begin_file(struct record *r)
{
	struct buf path = BUF_INIT(4096);
	tidy(r);
	buf_printf(&path, "%s/%016" PRIu64 "-%016" PRIx64 "%s", r->conf->record, clock_wall_us(),
	    r->name, suffix);
	r->fd = open(
	    buf_cstr(&path), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	buf_end(&path);
	r->written = 0;
	if (r->fd < 0) {
		fail(r, strerror(errno));
		return;
	}
	timer_set(&r->clock, RECORD_FLUSH_MS);
	r->begin(r->arg);
}

static void flush(struct record *r)
{
	struct span text = buf_span(&r->waiting);
	if (r->fd < 0 || text.n == 0)
		return;
	err_t e = fd_write_all(r->fd, text);
	if (e) {
		fail(r, err_text(e));
		return;
	}
	r->failed = false;
	r->written += text.n;
	buf_clear(&r->waiting);
}

static void end_file(struct record *r)
{
	flush(r);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	timer_clear(&r->clock);
}

static void on_clock(void *arg)
{
	struct record *r = OBJ(record, arg);
	if (r->fd < 0) {
		begin_file(r);
		return;
	}
	flush(r);
	if (r->fd >= 0)
		timer_set(&r->clock, RECORD_FLUSH_MS);
}

bool record_is_on(const struct record *r)
{
	return r->conf != NULL && r->conf->record != NULL;
}

void record_add(struct record *r, struct span lines)
{
	if (!record_is_on(r))
		return;
	if (r->fd >= 0 && r->written + buf_len(&r->waiting) + lines.n > r->conf->record_file) {
		end_file(r);
		begin_file(r);
	}
	if (r->fd >= 0 && buf_len(&r->waiting) + lines.n > RECORD_BUFFER)
		flush(r);
	bool kept = r->fd >= 0 && buf_add_span(&r->waiting, lines);
	metric_add(&meter_metrics[kept ? METER_M_RECORDED : METER_M_UNRECORDED], 1);
}

void record_configure(struct record *r, const struct metermaid_conf *conf)
{
	const char *was = r->conf != NULL ? r->conf->record : NULL, *is = conf->record;
	bool same = was == is || (was != NULL && is != NULL && strcmp(was, is) == 0);
	if (!same || is == NULL)
		end_file(r);
	r->conf = conf;
	if (is != NULL && r->fd < 0)
		begin_file(r);
}

struct record *record_new(struct loop *l, uint64_t name, void (*begin)(void *arg), void *arg)
{
	struct record *r = MEM_NEW(struct record);
	*r = (struct record){
		.magic = record_MAGIC, .loop = l, .name = name, .begin = begin, .arg = arg, .fd = -1
	};
	r->waiting = BUF_INIT(RECORD_BUFFER + 8192);
	timer_init(&r->clock, l, on_clock, r);
	return r;
}

void record_free(struct record **r)
{
	struct record *gone = *r;
	*r = NULL;
	if (gone == NULL)
		return;
	end_file(gone);
	buf_end(&gone->waiting);
	gone->magic = 0;
	mem_free(gone);
}
