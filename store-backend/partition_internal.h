/* partition_internal.h - the parts of an open partition, shared by partition*.c (nobody else). */
#ifndef STORE_PARTITION_INTERNAL_H
#define STORE_PARTITION_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "commitlog/commitlog.h"
#include "commitlog/flusher.h"
#include "net/stream.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"
#include "store-backend/partition.h"
#include "store-backend/snapshot.h"
#include "store-backend/store.h"

enum { PARTITION_PATH_SIZE = 1100, DEAD_AT_ONCE = 256, SEGMENT_BITS = 32 /* of a position */ };

#define partition_MAGIC 0x9a47170fu
#define peer_MAGIC 0x9a4717eeu

/* One operation of a worker, from its first byte to its answer. */
struct asked {
	struct list_node place; /* in partition.waiting or .batch; in none while it arrives */
	struct peer *peer;      /* borrowed; NULL: gone meanwhile */
	uint64_t client, sequence, answered_below;
	struct buf head; /* owned: what op points into */
	struct operation op;
	struct operation_arena arena; /* owned */
	struct buf record;            /* owned: APPEND_MANY as it is logged */
	uint64_t size, got;           /* of the message */
	char *bytes;                  /* owned: the message when it is small */
	int file;                     /* owned: else an unnamed file; -1 */
	bool no_space;                /* for that file */
	bool expires;                 /* of partition_expire.c, which waits for its end */
	size_t charge;                /* what it counts against the bounds of memory */
	struct buf answer;            /* owned: the frame, once it is known */
};

struct news {
	uint64_t mailbox, modseq;
	bool gone;
};

struct partition {
	uint32_t magic;
	struct loop *loop;
	char *name, *path; /* owned */
	struct partition_settings settings;
	bool tells; /* events are kept */
	uint64_t segment_bytes;
	void (*on_failed)(void *arg, const char *what, err_t err);
	void *arg;

	struct commitlog *log;       /* owned */
	struct index_writer *writer; /* owned */
	uint64_t epoch;
	const char *how;
	uint64_t replayed, skipped;
	bool took_snapshot; /* there is one less: another is due at once */

	bool failed;
	const char *failed_what;
	err_t failed_err;
	struct soon failed_soon;

	/* partition_peer.c: who asks */
	struct list_node peers;
	size_t peer_n;
	size_t held, files; /* by all operations that are here */

	/* partition_batch.c: one transaction at a time, open until the log is synced */
	struct list_node waiting; /* whole operations, in the order they came */
	struct list_node batch;   /* taken into txn */
	struct index_txn *txn;
	struct ticket *sync;
	struct soon turn;
	struct timer gather; /* armed: the next round may wait for more */
	size_t came;         /* operations since the last round was taken */
	size_t goal, streak; /* how many a round hopes for; rounds in turn that had as many */
	log_pos covered;     /* of txn when it is committed */
	uint64_t wall_s;     /* of txn */
	size_t batch_logged;
	bool low_space;                   /* no new messages in this round */
	uint64_t index_bytes, index_room; /* size of the index; what is left of it in this round */
	struct news *news;                /* owned: of the batch */
	size_t news_n, news_cap;

	/* partition_keep.c: what must be done from time to time */
	struct timer keep_timer, snapshot_timer, sweep_timer;
	bool keep_due, keep_full;
	/* Taken out of the index by txn: forgotten once it is committed. */
	log_pos dead[DEAD_AT_ONCE];
	size_t dead_n;
	struct flusher *copier; /* owned: the thread that copies */
	struct snapshot_job copy;
	char snapshot_dir[PARTITION_PATH_SIZE];
	uint64_t changes, copied_changes; /* operations logged; when the last copy was begun */
	bool copy_failed;
	log_pos sweep_at, sweep_to;
	log_pos snapshots_cover; /* every change before it is in two snapshots; 0: not known */
	bool trimmed;            /* the mark that says so is durable */

	struct base_writer *base_writer; /* owned by partition_base.c */
	struct index_base base;          /* the newest whole one */

	struct expirer *expirer;       /* owned by partition_expire.c */
	struct text_sweep *text_sweep; /* owned by partition_text.c */
	struct feeder *feeder;         /* owned by partition_events.c; NULL: nobody wants events */
};

/* partition.c */
void partition_fail(struct partition *p, const char *what, err_t err); /* told from the loop */
bool partition_file(const struct partition *p, const char *name, char out[PARTITION_PATH_SIZE]);
err_t partition_mark_trimmed(struct partition *p); /* durable: the log alone is not all any more */
bool partition_is_trimmed(const struct partition *p);

/* partition_recover.c: opens log and index and replays. */
err_t partition_recover(
    struct partition *p, const struct partition_opts *opts, const char **what_out);

/* partition_record.c: what the log holds beside the messages */
struct prune {
	uint64_t before_s, keep_max, most;
};
/* Says in facts->at where it is. */
err_t record_operation(struct partition *p, struct index_facts *facts, struct span head);
err_t record_prune(struct partition *p, const struct prune *what);
bool record_get_operation(struct span in, struct index_facts *facts_out, struct span *head_out);
err_t record_events(struct partition *p, const struct index_events_done *what);
bool record_get_events(struct span in, struct index_events_done *out);
bool record_get_prune(struct span in, struct prune *out);
/* A piece of the index's rows, and where the piece before it is (0: it is the first). */
err_t record_base_rows(struct commitlog *log, log_pos before, struct span piece, log_pos *pos_out);
bool record_get_base_rows(struct span in, log_pos *before_out, struct span *piece_out);
/* All pieces are there. */
struct base_end {
	log_pos last;    /* piece */
	uint64_t pieces; /* how many */
	log_pos covered; /* every change before it is in them */
	uint64_t bytes;  /* of all pieces */
};
err_t record_base(struct commitlog *log, const struct base_end *what, log_pos *pos_out);
bool record_get_base(struct span in, struct base_end *out);

/* partition_peer.c */
void asked_free(struct partition *p, struct asked *a);
void asked_drop_message(struct partition *p, struct asked *a); /* its bytes are in the log */
void peer_answer(struct asked *a);
void peers_tell(struct partition *p, const struct news *news);
void peers_resume(struct partition *p); /* there is room again */
void peers_end(struct partition *p);

/* partition_batch.c */
void batch_init(struct partition *p);
void batch_add(struct partition *p, struct asked *a); /* a is whole; owned from now on */
void batch_end(struct partition *p);

/* partition_keep.c */
err_t keep_init(struct partition *p);
bool keep_in_batch(struct partition *p); /* housekeeping in p->txn; false: nothing to do */
void keep_after_batch(struct partition *p);
void keep_end(struct partition *p);
void keep_sweep(struct partition *p); /* more may be forgotten than before */

/* partition_base.c: rows of the index in the log, in place of its oldest changes */
struct base_writer *base_writer_new(struct partition *p); /* NULL: no thread or no descriptor */
void base_writer_free(struct base_writer **w);            /* waits for its thread */
void base_copied(struct partition *p, const struct snapshot *made); /* begins, if it is time */
bool base_in_batch(struct partition *p);                            /* false: nothing to do */
void base_after_batch(struct partition *p);
/* Recovery: an empty index gets the newest rows that the log holds whole. ERR_NOT_FOUND: it holds none. */
err_t base_restore(struct partition *p, log_pos *covered_out);
/* Could they be had, those that this copy of the index knows of? Reads them all. */
bool base_is_whole(struct partition *p, const struct snapshot *s);
/* Messages get their caches again, a few at a time, in p->txn. False: nothing to do. */
bool base_caches_in_batch(struct partition *p);

/* An operation of the committer's own: nobody waits for the answer. message: copied. */
struct asked *batch_add_own(struct partition *p, const struct operation *op, struct span message);

/* partition_warn.c: limits of mailboxes; warnings of users */
/* Before op is logged: the rule that has no room for it; NULL: none. */
const struct store_quota_conf *warn_in_the_way(struct partition *p, const struct operation *op);
/* op was carried out; done: its answer, with the outcomes. */
void warn_after(
    struct partition *p, const struct operation *op, const struct operation_answer *done);

/* partition_mark.c: who has no room, and who has again, is told of; nothing unless somebody wants to know */
/* op was refused, or (DELIVER) for some: rule as warn_in_the_way() said, NULL: the user's own limits. */
void mark_refused(struct partition *p, const struct operation *op,
    const struct operation_answer *ans, const struct store_quota_conf *rule);
void mark_after(struct partition *p, const struct operation *op); /* op was carried out */
/* OP_QUOTA_MARK of a worker: would it tell something new? */
bool mark_is_news(struct partition *p, const struct operation *op);

/* partition_expire.c: messages that go by the rules */
struct expirer *expirer_new(struct partition *p);
void expirer_free(struct expirer **x);
void expirer_answered(struct partition *p); /* an operation of its own was carried out */
void expirer_set(struct partition *p);      /* the settings are new */
void expirer_begin_pass(struct partition *p);

/* partition_archive.c: copies of messages as files, durably, by a thread */
struct archiver;
struct archive_job {
	const char *dir;                     /* archive_dir of the rule */
	const struct index_mailbox *mailbox; /* for the call */
	const struct index_entry *entries;   /* borrowed until it is done */
	size_t n;
};
typedef void archiver_done_fn(void *arg, err_t err); /* ERR_OK: all are on the disk */
/* NULL: no thread or no descriptor. */
struct archiver *archiver_new(struct partition *p, archiver_done_fn *done, void *arg);
void archiver_free(struct archiver **a); /* waits for what is being written */
/* False: it is busy, or the paths are too long; then done is not called. */
bool archiver_run(struct archiver *a, const struct archive_job *j);

/* partition_text.c: files of text indexes that are of no use any more */
struct text_sweep *text_sweep_new(struct partition *p);
void text_sweep_free(struct text_sweep **x);
void text_sweep_all(const struct partition *p); /* while nobody else has the partition */

/* partition_events.c: events to Redis */
struct feeder *feeder_new(struct partition *p, const struct partition_events *opts);
void feeder_free(struct feeder **f);
void feeder_kick(struct partition *p); /* there may be new ones */
bool feeder_in_batch(
    struct partition *p); /* how far it has come goes into p->txn; false: no news */
bool feeder_rewind(struct partition *p, uint64_t since_s);

#endif
