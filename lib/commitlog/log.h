/* log.h - the parts of an open log, shared by commitlog.c, recover.c and reclaim.c (nobody else). */
#ifndef COMMITLOG_LOG_H
#define COMMITLOG_LOG_H

#include "base/heap.h"
#include "base/list.h"
#include "commitlog/commitlog.h"
#include "commitlog/flusher.h"
#include "commitlog/record.h"

enum {
	DIRTY_SEGMENTS_MAX = 64, /* rotated and not yet synced; then appending is ERR_BUSY */
	COUNT_UNKNOWN = 0xffffffffu
};

/* Offsets of records of one segment that are to be marked dead. */
enum { FORGOTTEN_BLOCK = 253 };
struct forgotten_block {
	struct forgotten_block *next;
	uint32_t n;
	uint32_t at[FORGOTTEN_BLOCK];
};
struct forgotten {
	struct forgotten_block *first, *last; /* owned */
	bool whole;                           /* instead: the whole segment goes */
};

struct log_segment {
	uint32_t number;
	uint32_t records, dead; /* COUNT_UNKNOWN until the segment had to be counted */
	uint64_t bytes;         /* file size */
	uint64_t dead_bytes;    /* known dead: not all of it was punched */
	struct forgotten now;   /* of the round that is under way ... */
	struct forgotten next;  /* ... and of the one behind it */
};

enum log_job { JOB_NONE, JOB_SYNC, JOB_RECLAIM };

struct sync_ticket {
	struct ticket ticket;
	struct list_node link; /* in asked or in_flight */
	commitlog_sync_fn *fn;
	void *arg;
	err_t err; /* its answer, when in answered */
};

/* What the flusher thread works on. One of the two kinds at a time. */
struct sync_job {
	int fds[DIRTY_SEGMENTS_MAX + 1];
	size_t fd_n;
	log_pos end; /* durable when the job succeeds */
	int error;   /* errno, 0 = fine */
};
enum { RECLAIM_BATCH = 2048, RECLAIM_AFTER_MS = 100 };
struct reclaim_job {
	uint32_t number; /* of the segment */
	uint32_t at[RECLAIM_BATCH];
	uint32_t freed[RECLAIM_BATCH]; /* bytes of the record, 0 when it was dead before */
	size_t n;
	uint64_t salt;
	int dir_fd;
	bool no_sync;
	int error;
};
void reclaim_job_run(void *arg);

#define commitlog_MAGIC 0xc0331106u

struct commitlog {
	uint32_t magic;
	struct loop *loop;
	char *dir; /* owned, like the descriptors */
	int dir_fd, lock_fd;
	uint64_t segment_bytes;
	bool no_sync;
	uint64_t salt; /* of every segment of this log */

	struct log_segment *segs; /* owned, ascending; the last is the one appended to */
	size_t seg_n, seg_cap;
	int fd;          /* of the last segment */
	uint64_t end;    /* offset of the next record in it */
	log_pos durable; /* everything before is on the disk */
	bool bad_end;    /* while it is opened: the last segment ends in damage */
	err_t broken;    /* not OK: nothing works any more but closing */
	char why[128];   /* that is so */

	struct flusher *flusher;
	enum log_job job;
	struct sync_job sync;
	struct reclaim_job reclaim;
	struct list_node asked;     /* sync tickets for the next round */
	struct list_node in_flight; /* of the round that runs */
	struct list_node answered;  /* to be called from soon */
	struct soon answer_soon;
	int dirty[DIRTY_SEGMENTS_MAX]; /* owned descriptors of rotated segments */
	size_t dirty_n;
	bool answering, closed; /* closed by a callback: freed when the callbacks are through */

	size_t now_n, next_n;          /* forgotten records and segments of both rounds */
	log_pos now_after, next_after; /* they may be marked once this much is durable */
	struct timer reclaim_timer;
	bool reclaim_due;
	bool reclaim_turn; /* much is to be reclaimed, and the last job was a sync */
	log_pos swept;     /* commitlog_forget_before() has been over everything before */

	struct commitlog_reader *reader;
	struct commitlog_stats stats;
};

/* recover.c: fills segs, fd, end, salt, durable. */
err_t log_recover(struct commitlog *log, struct buf *why);
err_t log_new_segment(struct commitlog *log, uint32_t number); /* durable when it returns */
struct log_segment *log_find_segment(struct commitlog *log, uint32_t number);

/* commitlog.c */
void log_kick(struct commitlog *log); /* starts the next job when the flusher is free */

/* reclaim.c */
/* Over the records of a segment; then walk_end(), and *fd_out is the caller's. */
err_t log_walk_open(struct commitlog *log, const struct log_segment *seg, uint64_t from,
    struct walk *w, int *fd_out);
bool log_reclaim_waits_sync(struct commitlog *log); /* the next one is not durable yet */
bool log_reclaim_is_late(
    const struct commitlog *log);             /* so much waits that syncs share the disk with it */
bool log_reclaim_next(struct commitlog *log); /* fills log->reclaim; false: none */
void log_reclaim_done(struct commitlog *log);
void log_reclaim_init(struct commitlog *log);
void log_reclaim_end(struct commitlog *log);

#endif
