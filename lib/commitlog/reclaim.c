/* reclaim.c - step 4: space of dead records goes back. Owns the lists of forgotten records.
 *
 * A record is forgotten in three acts, and the order is what makes a crash harmless: what replaced it is
 * durable; its header says "dead", durably; its blocks are punched. A segment of which every record is
 * dead is unlinked; how many are is counted when the first of a segment is forgotten.
 *
 * Records are forgotten in rounds. What is forgotten while a round is under way belongs to the next one, and
 * none of that is marked before the round has ended: a record that says that another one is of no use may
 * be forgotten after it. Within a round the segments come in the order of their numbers, each with one
 * sync for many marks. Batches run on the flusher's thread between two syncs. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "commitlog/log.h"

enum { BLOCK = 4096, FORGOTTEN_MAX = 1 << 22, LATE = 8 * RECLAIM_BATCH };

/* ---- on the flusher's thread ----------------------------------------------------------------------------- */

/* *freed_out: bytes of the record, 0 when it was dead before. */
static bool mark_dead(int fd, const struct segment_header *sh, uint32_t at, uint32_t *freed_out)
{
	static const uint8_t dead[4] = { 'D', 'E', 'A', 'D' };
	uint8_t raw[RECORD_HEADER_BYTES];
	struct record_header h;
	*freed_out = 0;
	if (read_full(fd, raw, sizeof raw, at) != ERR_OK ||
	    !record_header_decode(raw, pos_of(sh->number, at), sh->salt, &h) || h.dead)
		return true;
	if (pwrite(fd, dead, sizeof dead, (off_t)at + RECORD_STATE_AT) != (ssize_t)sizeof dead)
		return false;
	*freed_out = (uint32_t)record_bytes(h.length);
	return true;
}

/* Whole blocks only: the kernel would write zeros into a part of one. */
static void punch(int fd, uint64_t at, uint32_t freed)
{
	uint64_t from = at + RECORD_HEADER_BYTES;
	uint64_t to = at + freed;
	from = (from + BLOCK - 1) / BLOCK * BLOCK;
	to = to / BLOCK * BLOCK;
	if (freed != 0 && from < to) {
		/* A file system that cannot punch keeps the bytes until the segment goes. */
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		    (off_t)(to - from));
	}
}

static int reclaim_in(struct reclaim_job *j, int fd)
{
	struct segment_header sh = { .number = j->number, .salt = j->salt };
	for (size_t i = 0; i < j->n; i++)
		if (!mark_dead(fd, &sh, j->at[i], &j->freed[i]))
			return errno;
	if (!j->no_sync && fdatasync(fd) != 0)
		return errno;
	for (size_t i = 0; i < j->n; i++)
		punch(fd, j->at[i], j->freed[i]);
	return 0;
}

void reclaim_job_run(void *arg)
{
	struct reclaim_job *j = arg;
	char name[SEGMENT_NAME_SIZE];
	int fd = openat(j->dir_fd, segment_name(j->number, name), O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return; /* unlinked meanwhile: every record of it was dead */
	j->error = reclaim_in(j, fd);
	close(fd);
}

/* ---- what is forgotten ----------------------------------------------------------------------------------- */

/* How many were in it. */
static size_t forgotten_clear(struct forgotten *f)
{
	size_t n = f->whole;
	while (f->first != NULL) {
		struct forgotten_block *b = f->first;
		f->first = b->next;
		n += b->n;
		mem_free(b);
	}
	*f = (struct forgotten){ 0 };
	return n;
}

static void forgotten_add(struct forgotten *f, uint32_t at)
{
	if (f->last == NULL || f->last->n == FORGOTTEN_BLOCK) {
		struct forgotten_block *b = mem_alloc(sizeof *b);
		if (f->last == NULL)
			f->first = b;
		else
			f->last->next = b;
		f->last = b;
	}
	f->last->at[f->last->n++] = at;
}

/* As many blocks as fit. */
static size_t forgotten_take(struct forgotten *f, uint32_t *out, size_t room)
{
	size_t n = 0;
	while (f->first != NULL && f->first->n <= room - n) {
		struct forgotten_block *b = f->first;
		memcpy(out + n, b->at, b->n * sizeof b->at[0]);
		n += b->n;
		f->first = b->next;
		if (f->first == NULL)
			f->last = NULL;
		mem_free(b);
	}
	return n;
}

/* ---- on the owner's thread ------------------------------------------------------------------------------- */

static void forget_lists(struct commitlog *log, struct log_segment *seg)
{
	log->now_n -= forgotten_clear(&seg->now);
	log->next_n -= forgotten_clear(&seg->next);
}

static void unlink_segment(struct commitlog *log, struct log_segment *seg)
{
	char name[SEGMENT_NAME_SIZE];
	size_t i = (size_t)(seg - log->segs);
	if (unlinkat(log->dir_fd, segment_name(seg->number, name), 0) != 0 && errno != ENOENT)
		return;
	forget_lists(log, seg);
	memmove(seg, seg + 1, (log->seg_n - i - 1) * sizeof *seg);
	log->seg_n--;
}

static bool is_last(const struct commitlog *log, const struct log_segment *seg)
{
	return seg == &log->segs[log->seg_n - 1];
}

err_t log_walk_open(struct commitlog *log, const struct log_segment *seg, uint64_t from,
    struct walk *w, int *fd_out)
{
	char name[SEGMENT_NAME_SIZE];
	struct segment_header sh;
	bool damaged;
	int fd = openat(log->dir_fd, segment_name(seg->number, name), O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	err_t err = segment_header_or(fd, seg->number, log->salt, &sh, &damaged);
	if (!err)
		err = walk_init(w, fd, &sh, from);
	if (err)
		close(fd);
	else
		w->size = seg->bytes < w->size ? seg->bytes : w->size;
	*fd_out = fd;
	return err;
}

/* Over damage: what is lost is nobody's. */
static enum walk_result next_record(struct walk *w, log_pos *pos_out, struct record_header *out)
{
	enum walk_result res;
	while ((res = walk_next(w, pos_out, out)) == WALK_BAD)
		(void)walk_skip(w);
	return res;
}

static void count_segment(struct commitlog *log, struct log_segment *seg)
{
	struct walk w;
	struct record_header h;
	log_pos pos;
	int fd;
	if (seg->records != COUNT_UNKNOWN || log_walk_open(log, seg, 0, &w, &fd) != ERR_OK)
		return;
	uint32_t records = 0, dead = 0;
	enum walk_result res;
	while ((res = next_record(&w, &pos, &h)) == WALK_RECORD) {
		records++;
		dead += h.dead;
	}
	if (res == WALK_END && !w.failed) {
		seg->records = records;
		seg->dead = dead;
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
	for (size_t i = 0; i < log->seg_n; i++)
		forget_lists(log, &log->segs[i]);
}

/* False: nothing is forgotten. */
static bool begin_round(struct commitlog *log)
{
	if (log->now_n > 0 || log->next_n == 0)
		return log->now_n > 0;
	for (size_t i = 0; i < log->seg_n; i++) {
		log->segs[i].now = log->segs[i].next;
		log->segs[i].next = (struct forgotten){ 0 };
	}
	log->now_n = log->next_n;
	log->now_after = log->next_after;
	log->next_n = 0;
	return true;
}

bool log_reclaim_waits_sync(struct commitlog *log)
{
	return begin_round(log) && log->now_after > log->durable;
}

bool log_reclaim_is_late(const struct commitlog *log)
{
	return log->now_n + log->next_n > LATE;
}

/* A segment that goes whole needs no marks. */
static void drop_whole(struct commitlog *log, struct log_segment *seg)
{
	if (!is_last(log, seg))
		unlink_segment(log, seg);
	else
		forget_lists(log, seg);
}

static void fill_job(struct commitlog *log, struct log_segment *seg)
{
	struct reclaim_job *j = &log->reclaim;
	j->number = seg->number;
	j->salt = log->salt;
	j->dir_fd = log->dir_fd;
	j->no_sync = log->no_sync;
	j->error = 0;
	memset(j->freed, 0, sizeof j->freed);
	j->n = forgotten_take(&seg->now, j->at, RECLAIM_BATCH);
	log->now_n -= j->n;
}

/* A round that was short waits a little for more. */
static void round_ended(struct commitlog *log)
{
	log->reclaim_due = log->next_n >= RECLAIM_BATCH;
	if (!log->reclaim_due && log->next_n > 0 && !timer_armed(&log->reclaim_timer))
		timer_set(&log->reclaim_timer, RECLAIM_AFTER_MS);
}

bool log_reclaim_next(struct commitlog *log)
{
	log->reclaim.n = 0;
	if (!begin_round(log)) {
		log->reclaim_due = false;
		return false;
	}
	for (size_t i = 0; i < log->seg_n && log->reclaim.n == 0;) {
		uint32_t number = log->segs[i].number;
		if (log->segs[i].now.whole)
			drop_whole(log, &log->segs[i]);
		else if (log->segs[i].now.first != NULL)
			fill_job(log, &log->segs[i]);
		i += i < log->seg_n && log->segs[i].number == number;
	}
	if (log->now_n == 0)
		round_ended(log);
	return log->reclaim.n > 0;
}

void log_reclaim_done(struct commitlog *log)
{
	const struct reclaim_job *j = &log->reclaim;
	struct log_segment *seg = log_find_segment(log, j->number);
	uint32_t dead = 0;
	for (size_t i = 0; i < j->n && seg != NULL; i++) {
		dead += j->freed[i] != 0;
		seg->dead_bytes += j->freed[i];
	}
	if (seg != NULL && seg->records != COUNT_UNKNOWN)
		seg->dead += dead;
	else if (seg != NULL && dead > 0)
		count_segment(log, seg); /* it sees the marks of this batch */
	/* Backwards, so that unlinking does not move what is still to be looked at. */
	for (size_t i = log->seg_n; i-- > 0;) {
		seg = &log->segs[i];
		if (!is_last(log, seg) && seg->records != COUNT_UNKNOWN &&
		    seg->dead >= seg->records)
			unlink_segment(log, seg);
	}
}

static void forget(struct commitlog *log, log_pos pos, bool whole)
{
	struct log_segment *seg = log_find_segment(log, pos_segment(pos));
	if (seg == NULL || log->now_n + log->next_n >= FORGOTTEN_MAX)
		return; /* a later commitlog_forget_before(), or the owner's next start, finds it */
	if (whole)
		log->next_n -= forgotten_clear(&seg->next);
	if (whole)
		seg->next.whole = true;
	else
		forgotten_add(&seg->next, (uint32_t)pos_offset(pos));
	log->next_n++;
	log->next_after = commitlog_end(log);
	if (!log->reclaim_due && !timer_armed(&log->reclaim_timer))
		timer_set(&log->reclaim_timer, RECLAIM_AFTER_MS);
}

void commitlog_forget(struct commitlog *log, log_pos pos)
{
	if (!log->broken)
		forget(log, pos, false);
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
	log_pos pos;
	uint64_t from = pos_segment(log->swept) == seg->number ? pos_offset(log->swept) : 0;
	bool whole = from == 0 && !is_last(log, seg);
	enum walk_result res;
	int fd;
	if (log_walk_open(log, seg, from, &w, &fd) != ERR_OK)
		return false;
	while ((res = next_record(&w, &pos, &h)) == WALK_RECORD && pos < s->before) {
		if (h.dead)
			continue;
		if (s->keep != NULL && s->keep(s->arg, pos, h.type))
			whole = false;
		else
			forget(log, pos, false);
	}
	walk_end(&w);
	close(fd);
	whole = whole && !w.failed;
	if (res == WALK_END && whole)
		forget(log, pos_of(seg->number, 0), true);
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
