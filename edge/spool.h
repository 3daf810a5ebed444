/* spool.h - the spool's log as the queue process uses it: records in, records replayed, bodies read.
 *
 * The queue process is its only writer. Nothing is durable before a spool_sync() that was asked for
 * afterwards has answered ERR_OK. */
#ifndef EDGE_SPOOL_H
#define EDGE_SPOOL_H

#include "commitlog/commitlog.h"
#include "edge/smtp_out.h"
#include "edge/spool_record.h"
#include "net/loop.h"
#include "net/ticket.h"

struct spool;

/* Called at start for what the log holds, in the order in which it was written. Spans live during the
 * call. */
struct spool_visitor {
	void (*message)(void *arg, log_pos pos, const struct spool_message *m);
	void (*progress)(void *arg, log_pos pos, const struct spool_progress *p);
	void (*done)(void *arg, log_pos pos, const struct spool_done *d);
	/* Asked at the end: is the message whose record stands there one that goes on? */
	bool (*lives)(void *arg, log_pos pos, const struct spool_message *m);
	void *arg;
};

/* NULL: why says what is wrong. */
struct spool *spool_open(struct loop *l, const struct commitlog_opts *opts, struct buf *why);
/* Once, before anything is appended. Parts of messages that never became whole, or have ended, are forgotten; the
 * visitor may forget what it finds to be of no use. An error, which why tells: the spool is to be closed. */
err_t spool_replay(struct spool *s, const struct spool_visitor *v, struct buf *why);
void spool_close(struct spool **s);

/* ERR_NO_SPACE and ERR_BUSY are clean; after any other error the spool must be opened anew. */
err_t spool_append_chunk(struct spool *s, struct span bytes, log_pos *pos_out);
/* Sets m->body_at. */
err_t spool_append_message(
    struct spool *s, struct spool_message *m, struct span inline_body, log_pos *pos_out);
err_t spool_append_progress(struct spool *s, const struct spool_progress *p, log_pos *pos_out);
err_t spool_append_done(struct spool *s, const struct spool_done *d, log_pos *pos_out);
void spool_forget(struct spool *s, log_pos pos);
/* What stands there, as spool_record.h says; payload gets its bytes. ERR_NOT_FOUND, ERR_CORRUPT, or the disk's. */
err_t spool_load_message(
    struct spool *s, log_pos pos, struct buf *payload, struct spool_message *out);
err_t spool_load_progress(
    struct spool *s, log_pos pos, struct buf *payload, struct spool_progress *out);
/* A BODY record, into bytes, which is cleared first. */
err_t spool_load_chunk(struct spool *s, log_pos pos, struct buf *bytes);
struct ticket *spool_sync(struct spool *s, commitlog_sync_fn *fn, void *arg);
const char *spool_why(const struct spool *s);   /* commitlog_why() */
uint64_t spool_identity(const struct spool *s); /* another one has another */
struct commitlog_stats spool_stats(const struct spool *s);

/* Where a message's bytes are. */
struct spool_body {
	uint64_t bytes;
	log_pos pos;     /* of the MESSAGE record */
	size_t at;       /* inline: where in its payload */
	log_pos *chunks; /* owned by the holder of this struct; NULL: inline */
	size_t chunk_count;
};

/* A reader for one delivery: one record is checked against its checksum when it is first touched. The
 * body must outlive it. */
struct spool_reader;
struct spool_reader *spool_reader_new(struct spool *s, const struct spool_body *b);
void spool_reader_free(struct spool_reader **r);
struct mail_source spool_reader_source(struct spool_reader *r);

#endif
