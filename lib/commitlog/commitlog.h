/* commitlog.h - the only code that makes bytes durable: an append-only log in segments.
 *
 * A record has a type, a payload and a position. Appending buffers nothing of its own: the bytes are
 * in the kernel when append returns, and durable when a sync ticket that was asked for afterwards
 * answers ERR_OK. One fdatasync in a flusher thread serves every sync asked meanwhile (group commit).
 * Recovery scans the tail and cuts a torn record; damage before the tail is stepped over and told by
 * commitlog_replay(), never in silence. Space of dead records goes back by punching holes; a segment of which every
 * record is dead is unlinked. One process writes (lock file), any number read.
 *
 * After a failed write or fdatasync the log refuses everything (ERR_IO, ERR_NO_SPACE): what the kernel
 * still holds is unknown. The owner re-opens it, which recovers what is really on disk. ERR_NO_SPACE on
 * append is clean: nothing was written and the log goes on. */
#ifndef COMMITLOG_COMMITLOG_H
#define COMMITLOG_COMMITLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ticket.h"

struct commitlog;
struct commitlog_reader;

typedef uint64_t log_pos; /* segment number << 32 | offset; 0 = none; grows with time */

enum { COMMITLOG_PAYLOAD_MAX = 512 * 1024 * 1024 };

struct commitlog_opts {
	const char *dir;        /* made when missing (mode 0700) */
	uint64_t segment_bytes; /* a new segment starts past this size, e.g. 64 MiB */
	bool unsafe_no_sync;    /* for benchmarks and unit tests only: fdatasync is skipped */
};

/* NULL: *err_out and why say what is wrong. The log is recovered (tail cut) when this returns. */
struct commitlog *commitlog_open(
    struct loop *l, const struct commitlog_opts *opts, err_t *err_out, struct buf *why);
void commitlog_close(struct commitlog **log); /* waits for the flusher; tickets cancelled */

struct log_record {
	log_pos pos;
	uint32_t type;       /* the owner's meaning; 0 is reserved */
	struct span payload; /* valid during the callback */
	bool dead;           /* payload was punched: only pos, type and length (payload.n) hold */
	bool damaged;        /* payload fails its checksum: empty here, length in payload.n is 0 */
	uint64_t lost; /* type 0, damaged: so many bytes from pos on are no records any more */
};
/* Calls fn for each record at or after `from` in order (0: all). fn false stops. Where no record can be found, fn is
 * told of the gap by one of type 0, and what stands behind it follows. */
err_t commitlog_replay(struct commitlog *log, log_pos from,
    bool (*fn)(void *arg, const struct log_record *), void *arg);

/* Appends one record made of parts (at most 64). ERR_BUSY: 64 segments wait for a sync (nothing was
 * written, try again after it). */
err_t commitlog_append(struct commitlog *log, uint32_t type, const struct span *parts,
    size_t part_count, log_pos *pos_out);
/* Why it refuses everything by now: the call that failed and the system's reason; "": it does not. */
const char *commitlog_why(const struct commitlog *log);
uint64_t commitlog_identity(
    const struct commitlog *log); /* at random when it was made, and never again */
log_pos commitlog_end(const struct commitlog *log); /* where the next record will go, at least */

typedef void commitlog_sync_fn(void *arg, err_t err);
struct ticket *commitlog_sync(struct commitlog *log, commitlog_sync_fn *fn, void *arg);

/* Reads n payload bytes at `at` of the record at pos into out. Not checksummed: see _verify. */
err_t commitlog_read(struct commitlog *log, log_pos pos, uint64_t at, void *out, size_t n);
err_t commitlog_size(struct commitlog *log, log_pos pos, uint64_t *payload_bytes_out);
err_t commitlog_verify(struct commitlog *log, log_pos pos); /* ERR_OK or ERR_CORRUPT */
/* Appends the whole payload to out, checksummed. ERR_TOO_LONG: it does not fit. */
err_t commitlog_load(struct commitlog *log, log_pos pos, struct buf *out);

/* The record is not needed any more. Holes are punched in batches, in the background; a header that
 * says "dead" stays so that replay can step over it. Never before the record's successor (what
 * makes it unneeded) is durable: the call remembers the end of the log and waits for its sync. */
void commitlog_forget(struct commitlog *log, log_pos pos);
/* Every record before pos is not needed (a snapshot covers them), except those still to be kept. */
void commitlog_forget_before(struct commitlog *log, log_pos pos,
    bool (*keep)(void *arg, log_pos pos, uint32_t type), void *arg);

struct commitlog_stats {
	uint64_t appends, bytes, syncs, segments, disk_bytes, dead_bytes;
};
struct commitlog_stats commitlog_stats(const struct commitlog *log);

/* Reading side for other processes: opens segments as needed (a bounded number kept open). */
struct commitlog_reader *commitlog_reader_open(const char *dir);
void commitlog_reader_close(struct commitlog_reader **r);
err_t commitlog_reader_read(
    struct commitlog_reader *r, log_pos pos, uint64_t at, void *out, size_t n);
err_t commitlog_reader_load(struct commitlog_reader *r, log_pos pos, struct buf *out);
err_t commitlog_reader_verify(struct commitlog_reader *r, log_pos pos);
err_t commitlog_reader_size(struct commitlog_reader *r, log_pos pos, uint64_t *payload_bytes_out);
/* As commitlog_replay(), beside the one that writes, for records from `from` on and before `to`. All of these must be
 * durable: what is still being written looks like damage. Segments that are unlinked meanwhile are passed over, so the
 * caller asks afterwards whether anything it needed may have been forgotten. */
err_t commitlog_reader_replay(struct commitlog_reader *r, log_pos from, log_pos to,
    bool (*fn)(void *arg, const struct log_record *), void *arg);
/* For sendfile: the file and the offset in it where the payload of pos begins. Caller puts the ref. */
err_t commitlog_reader_file(struct commitlog_reader *r, log_pos pos, struct file_ref **file_out,
    uint64_t *offset_out, uint64_t *payload_bytes_out);

#endif
