/* commitlog.c - step 3: the open log: appending, group commit, replay. Owns the segment files, the lock,
 * the flusher thread and every ticket. After: reclaim.c, which gives space back.
 *
 * One job runs at a time on the flusher: a sync for everybody who has asked so far, else a batch of
 * reclaiming. What is asked meanwhile waits for the next round: that is the group commit. */
#include "commitlog/commitlog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "commitlog/log.h"
#include "commitlog/replay.h"

enum { PARTS_MAX = 64 };

static log_pos log_end_pos(const struct commitlog *log)
{
	return pos_of(log->segs[log->seg_n - 1].number, log->end);
}

/* ---- sync rounds ------------------------------------------------------------------------------------ */

static void sync_job_run(void *arg)
{
	struct sync_job *j = arg;
	j->error = 0;
	for (size_t i = 0; i < j->fd_n; i++) {
		if (fdatasync(j->fds[i]) != 0) {
			j->error = errno;
			return;
		}
	}
}

static void answer_later(struct commitlog *log, struct list_node *from, err_t err)
{
	struct list_node *n;
	while ((n = list_pop(from)) != NULL) {
		LIST_OF(struct sync_ticket, link, n)->err = err;
		list_add_tail(&log->answered, n);
	}
}

/* Calls back until nothing is left or a callback closes the log, which is then freed here; then goes on
 * with the next job. Last statement of whoever calls it. */
static void answer_now(struct commitlog *log)
{
	struct list_node *n;
	log->answering = true;
	while ((n = list_pop(&log->answered)) != NULL) {
		struct sync_ticket *t = LIST_OF(struct sync_ticket, link, n);
		commitlog_sync_fn *fn = t->fn;
		void *arg = t->arg;
		err_t err = t->err;
		mem_free(t);
		fn(arg, err);
	}
	log->answering = false;
	if (log->closed)
		mem_free(log);
	else
		log_kick(log);
}

static void on_answer_soon(void *arg)
{
	struct commitlog *log = OBJ(commitlog, arg);
	answer_now(log);
}

/* call: what failed, with this errno. */
static void log_break(struct commitlog *log, err_t err, const char *call, int error)
{
	log->broken = err;
	snprintf(log->why, sizeof log->why, "%s: %s", call, strerror(error));
	answer_later(log, &log->in_flight, err);
	answer_later(log, &log->asked, err);
	soon_set(log->loop, &log->answer_soon);
}

static void start_sync(struct commitlog *log)
{
	struct sync_job *j = &log->sync;
	struct list_node *n;
	while ((n = list_pop(&log->asked)) != NULL)
		list_add_tail(&log->in_flight, n);
	j->end = log_end_pos(log);
	if (log->no_sync || j->end == log->durable) {
		log->durable = j->end;
		answer_later(log, &log->in_flight, ERR_OK);
		soon_set(log->loop, &log->answer_soon);
		return;
	}
	memcpy(j->fds, log->dirty, log->dirty_n * sizeof j->fds[0]);
	j->fds[log->dirty_n] = log->fd;
	j->fd_n = log->dirty_n + 1;
	log->job = JOB_SYNC;
	flusher_run(log->flusher, sync_job_run, j);
}

void log_kick(struct commitlog *log)
{
	if (log->broken || log->job != JOB_NONE)
		return;
	bool reclaim_first = log->reclaim_due && log->reclaim_turn && log_reclaim_is_late(log);
	if (!list_empty(&log->asked) && !reclaim_first) {
		start_sync(log);
	} else if (log->reclaim_due && log_reclaim_waits_sync(log)) {
		start_sync(log);
	} else if (log->reclaim_due && log_reclaim_next(log)) {
		log->job = JOB_RECLAIM;
		flusher_run(log->flusher, reclaim_job_run, &log->reclaim);
	}
}

static void sync_done(struct commitlog *log)
{
	struct sync_job *j = &log->sync;
	if (j->error != 0) {
		log_break(log, ERR_IO, "fdatasync", j->error);
		return;
	}
	log->stats.syncs++;
	log->durable = j->end;
	size_t old = j->fd_n - 1; /* the last one is still written to, or in dirty */
	for (size_t i = 0; i < old; i++)
		close(log->dirty[i]);
	log->dirty_n -= old;
	memmove(log->dirty, log->dirty + old, log->dirty_n * sizeof log->dirty[0]);
	answer_later(log, &log->in_flight, ERR_OK);
}

static void on_flushed(void *arg)
{
	struct commitlog *log = OBJ(commitlog, arg);
	enum log_job job = log->job;
	log->job = JOB_NONE;
	log->reclaim_turn = job == JOB_SYNC;
	if (job == JOB_SYNC)
		sync_done(log);
	else
		log_reclaim_done(log);
	answer_now(log);
}

static void sync_ticket_cancel(struct ticket *ticket)
{
	struct sync_ticket *t = (struct sync_ticket *)ticket;
	list_remove(&t->link);
	mem_free(t);
}

struct ticket *commitlog_sync(struct commitlog *log, commitlog_sync_fn *fn, void *arg)
{
	struct sync_ticket *t = MEM_NEW(struct sync_ticket);
	t->ticket.cancel = sync_ticket_cancel;
	t->fn = fn;
	t->arg = arg;
	t->err = log->broken;
	if (log->broken) {
		list_add_tail(&log->answered, &t->link);
		soon_set(log->loop, &log->answer_soon);
		return &t->ticket;
	}
	list_add_tail(&log->asked, &t->link);
	log_kick(log);
	return &t->ticket;
}

/* ---- appending --------------------------------------------------------------------------------------- */

/* The next record goes into a new segment. The old one stays open until it is synced. */
static err_t rotate(struct commitlog *log)
{
	int old = log->fd;
	bool clean = log->no_sync || (log->durable >= log_end_pos(log) && log->job != JOB_SYNC);
	if (!clean && log->dirty_n == DIRTY_SEGMENTS_MAX)
		return ERR_BUSY;
	err_t err = log_new_segment(log, log->segs[log->seg_n - 1].number + 1);
	if (err == ERR_IO)
		log_break(log, err, "new segment", EIO);
	if (err)
		return err;
	if (clean)
		close(old);
	else
		log->dirty[log->dirty_n++] = old;
	return ERR_OK;
}

/* Writes all of iov at the end. A full disk leaves the log as it was. */
static err_t write_record(struct commitlog *log, struct iovec *iov, size_t n, uint64_t total)
{
	uint64_t at = log->end;
	while (total > 0) {
		ssize_t did = pwritev(log->fd, iov, (int)n, (off_t)at);
		if (did < 0 && errno == EINTR)
			continue;
		if (did <= 0) {
			int error = errno;
			bool full =
			    did == 0 || error == ENOSPC || error == EDQUOT || error == EFBIG;
			if (full && ftruncate(log->fd, (off_t)log->end) == 0)
				return ERR_NO_SPACE;
			log_break(log, ERR_IO, "write", error);
			return ERR_IO;
		}
		at += (uint64_t)did;
		total -= (uint64_t)did;
		for (size_t left = (size_t)did; left > 0 && n > 0;) {
			size_t k = iov->iov_len < left ? iov->iov_len : left;
			iov->iov_base = (char *)iov->iov_base + k;
			iov->iov_len -= k;
			left -= k;
			if (iov->iov_len == 0) {
				iov++;
				n--;
			}
		}
	}
	return ERR_OK;
}

err_t commitlog_append(struct commitlog *log, uint32_t type, const struct span *parts,
    size_t part_count, log_pos *pos_out)
{
	static const char zeros[8];
	uint8_t raw[RECORD_HEADER_BYTES];
	struct iovec iov[PARTS_MAX + 2];
	struct record_header h = { .type = type, .durable = log->durable };
	uint64_t length = 0;
	size_t n = 1;
	CHECK(type != 0 && part_count <= PARTS_MAX);
	if (log->broken)
		return log->broken;
	for (size_t i = 0; i < part_count; i++)
		length += parts[i].n;
	if (length > COMMITLOG_PAYLOAD_MAX)
		return ERR_TOO_LONG;
	if (log->end >= log->segment_bytes) {
		err_t err = rotate(log);
		if (err)
			return err;
	}
	for (size_t i = 0; i < part_count; i++) {
		h.payload_crc = hash_crc32c(h.payload_crc, parts[i].p, parts[i].n);
		if (parts[i].n > 0)
			iov[n++] = (struct iovec){ (void *)(uintptr_t)parts[i].p, parts[i].n };
	}
	h.length = (uint32_t)length;
	uint64_t total = record_bytes(h.length);
	log_pos pos = log_end_pos(log);
	record_header_encode(&h, pos, log->salt, raw);
	iov[0] = (struct iovec){ raw, sizeof raw };
	if (total > RECORD_HEADER_BYTES + length)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)zeros,
			(size_t)(total - RECORD_HEADER_BYTES - length) };
	err_t err = write_record(log, iov, n, total);
	if (err)
		return err;
	struct log_segment *seg = &log->segs[log->seg_n - 1];
	log->end += total;
	seg->bytes = log->end;
	if (seg->records != COUNT_UNKNOWN)
		seg->records++;
	log->stats.appends++;
	log->stats.bytes += length;
	*pos_out = pos;
	return ERR_OK;
}

const char *commitlog_why(const struct commitlog *log)
{
	return log->why;
}

uint64_t commitlog_identity(const struct commitlog *log)
{
	return log->salt;
}

log_pos commitlog_end(const struct commitlog *log)
{
	return log_end_pos(log);
}

/* ---- replay and reading -------------------------------------------------------------------------------- */

static err_t replay_segment(
    struct commitlog *log, const struct log_segment *seg, uint64_t from, struct replay *r)
{
	struct walk w;
	int fd;
	err_t err = log_walk_open(log, seg, from, &w, &fd);
	if (err)
		return err;
	if (seg->bytes < SEGMENT_HEADER_BYTES) /* cut off: nobody knows what was there */
		r->stopped = !r->fn(
		    r->arg, &(struct log_record){ .pos = pos_of(seg->number, 0), .damaged = true });
	err = replay_walk(r, &w);
	walk_end(&w);
	close(fd);
	return err;
}

err_t commitlog_replay(struct commitlog *log, log_pos from,
    bool (*fn)(void *arg, const struct log_record *), void *arg)
{
	struct replay r = { .fn = fn, .arg = arg, .to = UINT64_MAX };
	r.payload = BUF_INIT(COMMITLOG_PAYLOAD_MAX);
	err_t err = ERR_OK;
	for (size_t i = 0; !err && !r.stopped && i < log->seg_n; i++) {
		uint32_t number = log->segs[i].number;
		if (number < pos_segment(from))
			continue;
		err = replay_segment(
		    log, &log->segs[i], number == pos_segment(from) ? pos_offset(from) : 0, &r);
	}
	buf_end(&r.payload);
	return err;
}

err_t commitlog_read(struct commitlog *log, log_pos pos, uint64_t at, void *out, size_t n)
{
	return commitlog_reader_read(log->reader, pos, at, out, n);
}

err_t commitlog_size(struct commitlog *log, log_pos pos, uint64_t *payload_bytes_out)
{
	return commitlog_reader_size(log->reader, pos, payload_bytes_out);
}

err_t commitlog_verify(struct commitlog *log, log_pos pos)
{
	return commitlog_reader_verify(log->reader, pos);
}

err_t commitlog_load(struct commitlog *log, log_pos pos, struct buf *out)
{
	return commitlog_reader_load(log->reader, pos, out);
}

struct commitlog_stats commitlog_stats(const struct commitlog *log)
{
	struct commitlog_stats s = log->stats;
	s.segments = log->seg_n;
	for (size_t i = 0; i < log->seg_n; i++) {
		const struct log_segment *seg = &log->segs[i];
		s.dead_bytes += seg->dead_bytes;
		s.disk_bytes +=
		    seg->bytes - (seg->dead_bytes < seg->bytes ? seg->dead_bytes : seg->bytes);
	}
	return s;
}

/* ---- opening and closing -------------------------------------------------------------------------------- */

static err_t take_lock(struct commitlog *log, struct buf *why)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	log->lock_fd = openat(log->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (log->lock_fd < 0) {
		buf_printf(why, "%s/lock: %s", log->dir, strerror(errno));
		return err_from_errno(errno);
	}
	if (fcntl(log->lock_fd, F_OFD_SETLK, &whole) != 0)
		return errno == EAGAIN || errno == EACCES ? ERR_BUSY : err_from_errno(errno);
	return ERR_OK;
}

static err_t open_dir(struct commitlog *log, const char *dir)
{
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_from_errno(errno);
	log->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return log->dir_fd < 0 ? err_from_errno(errno) : ERR_OK;
}

static err_t open_all(struct commitlog *log, const char *dir, struct buf *why)
{
	err_t err = open_dir(log, dir);
	if (!err)
		err = take_lock(log, why);
	if (!err)
		err = log_recover(log, why);
	if (err)
		return err;
	log->flusher = flusher_new(log->loop, on_flushed, log);
	return log->flusher == NULL ? ERR_NO_DESCRIPTORS : ERR_OK;
}

struct commitlog *commitlog_open(
    struct loop *l, const struct commitlog_opts *opts, err_t *err_out, struct buf *why)
{
	struct commitlog *log = MEM_NEW(struct commitlog);
	struct buf own_why = BUF_INIT(512);
	*log = (struct commitlog){
		.magic = commitlog_MAGIC,
		.loop = l,
		.dir = mem_str(opts->dir),
		.dir_fd = -1,
		.lock_fd = -1,
		.fd = -1,
		.segment_bytes = opts->segment_bytes < 1u << 30 ? opts->segment_bytes : 1u << 30,
		.no_sync = opts->unsafe_no_sync,
		.reader = commitlog_reader_open(opts->dir),
	};
	list_init(&log->asked);
	list_init(&log->in_flight);
	list_init(&log->answered);
	soon_init(&log->answer_soon, on_answer_soon, log);
	log_reclaim_init(log);
	err_t err = open_all(log, opts->dir, &own_why);
	if (err) {
		if (buf_len(&own_why) == 0)
			buf_printf(&own_why, "%s: %s", opts->dir, err_text(err));
		if (why != NULL)
			buf_add_span(why, buf_span(&own_why));
		commitlog_close(&log);
	}
	buf_end(&own_why);
	*err_out = err;
	return log;
}

static void drop_tickets(struct list_node *list)
{
	struct list_node *n;
	while ((n = list_pop(list)) != NULL)
		mem_free(LIST_OF(struct sync_ticket, link, n));
}

void commitlog_close(struct commitlog **logp)
{
	struct commitlog *log = *logp;
	if (log == NULL)
		return;
	flusher_free(&log->flusher);
	soon_clear(&log->answer_soon);
	drop_tickets(&log->asked);
	drop_tickets(&log->in_flight);
	drop_tickets(&log->answered);
	log_reclaim_end(log);
	for (size_t i = 0; i < log->dirty_n; i++)
		close(log->dirty[i]);
	if (log->fd >= 0)
		close(log->fd);
	if (log->lock_fd >= 0)
		close(log->lock_fd);
	if (log->dir_fd >= 0)
		close(log->dir_fd);
	commitlog_reader_close(&log->reader);
	mem_free(log->segs);
	mem_free(log->dir);
	log->magic = 0;
	log->closed = true;
	if (!log->answering)
		mem_free(log);
	*logp = NULL;
}
