/* reclaim.c - step 4: space of dead records goes back. Owns the queue of forgotten records.
 *
 * A record is forgotten in three acts, and the order is what makes a crash harmless: what replaced it is
 * durable; its header says "dead", durably; its blocks are punched. Batches run on the flusher's
 * thread between two syncs. A segment of which every record is dead is unlinked; how many are is
 * counted when the first of a segment is forgotten. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "commitlog/log.h"

enum { BLOCK = 4096, FORGOTTEN_MAX = 1 << 22 };

/* ---- on the flusher's thread ----------------------------------------------------------------------------- */

static bool mark_dead(int fd, const struct segment_header *sh, struct forgotten *f)
{
	static const uint8_t dead[4] = { 'D', 'E', 'A', 'D' };
	uint8_t raw[RECORD_HEADER_BYTES];
	struct record_header h;
	f->freed = 0;
	if (read_full(fd, raw, sizeof raw, pos_offset(f->pos)) != ERR_OK ||
	    !record_header_decode(raw, f->pos, sh->salt, &h) || h.dead)
		return true;
	if (pwrite(fd, dead, sizeof dead, (off_t)(pos_offset(f->pos) + RECORD_STATE_AT)) != 4)
		return false;
	f->freed = record_bytes(h.length);
	return true;
}

/* Whole blocks only: the kernel would write zeros into a part of one. */
static void punch(int fd, const struct forgotten *f)
{
	uint64_t from = pos_offset(f->pos) + RECORD_HEADER_BYTES;
	uint64_t to = pos_offset(f->pos) + f->freed;
	from = (from + BLOCK - 1) / BLOCK * BLOCK;
	to = to / BLOCK * BLOCK;
	if (f->freed != 0 && from < to) {
		/* A file system that cannot punch keeps the bytes until the segment goes. */
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		    (off_t)(to - from));
	}
}

static int reclaim_segment(struct reclaim_job *j, uint32_t number, int fd)
{
	struct segment_header sh;
	if (segment_header_read(fd, number, &sh) != ERR_OK)
		return 0;
	for (size_t i = 0; i < j->n; i++) {
		if (pos_segment(j->v[i].pos) == number && !mark_dead(fd, &sh, &j->v[i]))
			return errno;
	}
	if (!j->no_sync && fdatasync(fd) != 0)
		return errno;
	for (size_t i = 0; i < j->n; i++) {
		if (pos_segment(j->v[i].pos) == number)
			punch(fd, &j->v[i]);
	}
	return 0;
}

void reclaim_job_run(void *arg)
{
	struct reclaim_job *j = arg;
	uint32_t done[RECLAIM_SEGMENTS];
	size_t done_n = 0;
	j->error = 0;
	for (size_t i = 0; i < j->n && j->error == 0; i++) {
		uint32_t number = pos_segment(j->v[i].pos);
		char name[SEGMENT_NAME_SIZE];
		bool seen = false;
		for (size_t k = 0; k < done_n; k++)
			seen = seen || done[k] == number;
		if (seen)
			continue;
		done[done_n++] = number;
		int fd = openat(j->dir_fd, segment_name(number, name), O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue; /* unlinked meanwhile: every record of it was dead */
		j->error = reclaim_segment(j, number, fd);
		close(fd);
	}
}

/* ---- on the owner's thread ------------------------------------------------------------------------------- */

static void unlink_segment(struct commitlog *log, struct log_segment *seg)
{
	char name[SEGMENT_NAME_SIZE];
	size_t i = (size_t)(seg - log->segs);
	if (unlinkat(log->dir_fd, segment_name(seg->number, name), 0) != 0 && errno != ENOENT)
		return;
	memmove(seg, seg + 1, (log->seg_n - i - 1) * sizeof *seg);
	log->seg_n--;
}

static bool is_last(const struct commitlog *log, const struct log_segment *seg)
{
	return seg == &log->segs[log->seg_n - 1];
}

static err_t open_walk(struct commitlog *log, const struct log_segment *seg, uint64_t from,
    struct walk *w, int *fd_out)
{
	char name[SEGMENT_NAME_SIZE];
	struct segment_header sh;
	int fd = openat(log->dir_fd, segment_name(seg->number, name), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = segment_header_read(fd, seg->number, &sh);
	if (!err)
		err = walk_init(w, fd, &sh, from);
	if (err)
		close(fd);
	else
		w->size = seg->bytes < w->size ? seg->bytes : w->size;
	*fd_out = fd;
	return err;
}

static void count_segment(struct commitlog *log, struct log_segment *seg)
{
	struct walk w;
	struct record_header h;
	log_pos pos;
	int fd;
	if (seg->records != COUNT_UNKNOWN || open_walk(log, seg, 0, &w, &fd) != ERR_OK)
		return;
	seg->records = seg->dead = 0;
	while (walk_next(&w, &pos, &h) == WALK_RECORD) {
		seg->records++;
		seg->dead += h.dead;
	}
	walk_end(&w);
	close(fd);
}

static void on_reclaim_timer(void *arg)
{
	struct commitlog *log = OBJ(commitlog, arg);
	log->reclaim_due = true;
	log_kick(log);
}

void log_reclaim_init(struct commitlog *log)
{
	timer_init(&log->reclaim_timer, log->loop, on_reclaim_timer, log);
}

void log_reclaim_end(struct commitlog *log)
{
	timer_clear(&log->reclaim_timer);
	MEM_FREE(&log->forgotten);
}

static const struct forgotten *first_forgotten(const struct commitlog *log)
{
	return log->forgotten_n == 0 ? NULL : &log->forgotten[log->forgotten_head];
}

bool log_reclaim_waits_sync(const struct commitlog *log)
{
	const struct forgotten *f = first_forgotten(log);
	return f != NULL && f->after > log->durable;
}

/* The next in the queue names a segment whole: it needs no marks. */
static bool take_whole_segment(struct commitlog *log, const struct forgotten *f)
{
	if (pos_offset(f->pos) != 0)
		return false;
	struct log_segment *seg = log_find_segment(log, pos_segment(f->pos));
	if (seg != NULL && !is_last(log, seg))
		unlink_segment(log, seg);
	return true;
}

static bool has_segment(const struct reclaim_job *j, uint32_t number, size_t *count_out)
{
	size_t count = 0;
	bool found = false;
	for (size_t i = 0; i < j->n; i++) {
		uint32_t n = pos_segment(j->v[i].pos);
		bool first = i == 0 || pos_segment(j->v[i - 1].pos) != n;
		found = found || n == number;
		count += first;
	}
	*count_out = count;
	return found;
}

bool log_reclaim_next(struct commitlog *log)
{
	struct reclaim_job *j = &log->reclaim;
	uint32_t last = 0;
	j->n = 0;
	j->dir_fd = log->dir_fd;
	j->no_sync = log->no_sync;
	while (log->forgotten_n > 0 && j->n < RECLAIM_BATCH) {
		const struct forgotten *f = first_forgotten(log);
		size_t segments = 0;
		if (f->after > log->durable)
			break;
		if (!take_whole_segment(log, f)) {
			uint32_t number = pos_segment(f->pos);
			if (number != last && !has_segment(j, number, &segments) &&
			    segments >= RECLAIM_SEGMENTS)
				break;
			last = number;
			j->v[j->n++] = *f;
		}
		log->forgotten_head++;
		log->forgotten_n--;
	}
	if (log->forgotten_n == 0)
		log->forgotten_head = 0;
	log->reclaim_due = log->forgotten_n > 0;
	return j->n > 0;
}

void log_reclaim_done(struct commitlog *log)
{
	struct reclaim_job *j = &log->reclaim;
	for (size_t i = 0; i < j->n; i++) {
		struct log_segment *seg = log_find_segment(log, pos_segment(j->v[i].pos));
		if (seg == NULL || j->v[i].freed == 0)
			continue;
		if (seg->records != COUNT_UNKNOWN)
			seg->dead++;
		seg->dead_bytes += j->v[i].freed;
	}
	/* Not before: counting sees all marks of this batch. */
	for (size_t i = 0; i < j->n; i++) {
		struct log_segment *seg = log_find_segment(log, pos_segment(j->v[i].pos));
		if (seg != NULL && j->v[i].freed != 0)
			count_segment(log, seg);
	}
	/* Backwards, so that unlinking does not move what is still to be looked at. */
	for (size_t i = log->seg_n; i-- > 0;) {
		struct log_segment *seg = &log->segs[i];
		if (!is_last(log, seg) && seg->records != COUNT_UNKNOWN &&
		    seg->dead >= seg->records)
			unlink_segment(log, seg);
	}
}

static void queue_forgotten(struct commitlog *log, log_pos pos, log_pos after)
{
	if (log->forgotten_n >= FORGOTTEN_MAX)
		return; /* a later commitlog_forget_before() finds it */
	if (log->forgotten_head + log->forgotten_n == log->forgotten_cap) {
		if (log->forgotten_head > 0)
			memmove(log->forgotten, log->forgotten + log->forgotten_head,
			    log->forgotten_n * sizeof *log->forgotten);
		log->forgotten_head = 0;
		if (log->forgotten_n * 2 >= log->forgotten_cap) {
			log->forgotten_cap = log->forgotten_cap == 0 ? 64 : log->forgotten_cap * 2;
			log->forgotten =
			    mem_grow(log->forgotten, log->forgotten_cap, sizeof *log->forgotten);
		}
	}
	log->forgotten[log->forgotten_head + log->forgotten_n++] =
	    (struct forgotten){ .pos = pos, .after = after };
	if (!timer_armed(&log->reclaim_timer))
		timer_set(&log->reclaim_timer, RECLAIM_AFTER_MS);
}

void commitlog_forget(struct commitlog *log, log_pos pos)
{
	if (!log->broken)
		queue_forgotten(log, pos, commitlog_end(log));
}

struct sweep {
	struct commitlog *log;
	log_pos before;
	bool (*keep)(void *arg, log_pos pos, uint32_t type);
	void *arg;
};

/* False: a record cannot be read; what follows it is left alone. */
static bool sweep_segment(struct sweep *s, const struct log_segment *seg)
{
	struct commitlog *log = s->log;
	struct walk w;
	struct record_header h;
	log_pos pos, after = commitlog_end(log);
	size_t queued = log->forgotten_n;
	uint64_t from = pos_segment(log->swept) == seg->number ? pos_offset(log->swept) : 0;
	bool whole = from == 0 && !is_last(log, seg);
	enum walk_result res;
	int fd;
	if (open_walk(log, seg, from, &w, &fd) != ERR_OK)
		return false;
	while ((res = walk_next(&w, &pos, &h)) == WALK_RECORD && pos < s->before) {
		if (h.dead)
			continue;
		if (s->keep != NULL && s->keep(s->arg, pos, h.type))
			whole = false;
		else
			queue_forgotten(log, pos, after);
	}
	walk_end(&w);
	close(fd);
	if (res == WALK_END && whole) {
		log->forgotten_n = queued;
		queue_forgotten(log, pos_of(seg->number, 0), after);
	}
	return res == WALK_END || res == WALK_RECORD;
}

void commitlog_forget_before(struct commitlog *log, log_pos pos,
    bool (*keep)(void *arg, log_pos pos, uint32_t type), void *arg)
{
	struct sweep s = { .log = log, .before = pos, .keep = keep, .arg = arg };
	if (log->broken)
		return;
	for (size_t i = 0; i < log->seg_n && log->segs[i].number <= pos_segment(pos); i++) {
		if (log->segs[i].number < pos_segment(log->swept))
			continue;
		if (!sweep_segment(&s, &log->segs[i]))
			return;
	}
	if (pos > log->swept)
		log->swept = pos;
}
