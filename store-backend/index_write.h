/* index_write.h - the writing side of the index: for the committer (and the recovery) alone.
 *
 * A transaction takes operations, each with the facts that the log holds beside it, and is committed with
 * the log position it covers. What an operation does depends on the state, the operation and the
 * facts only (no clock, no settings), so replaying the log makes the same index.
 *
 * LMDB's failures are sticky in the transaction: index_txn_err() before committing. */
#ifndef STORE_INDEX_WRITE_H
#define STORE_INDEX_WRITE_H

#include "store-backend/index.h"

struct index_writer;
struct index_txn;

enum { INDEX_BOOT_ID_MAX = 39 };

/* Opens the index in dir (made when missing, with a new epoch). LMDB may use several times size_max of
 * addresses: new pages come before old ones are free, and what is in the log must always fit. */
struct index_writer *index_writer_open(const char *dir, uint64_t size_max, err_t *err_out);
/* clean: synced to the disk, so that it may be trusted after another boot. */
void index_writer_close(struct index_writer **w, bool clean);

/* To look at what is committed; index_close() it before the writer. */
struct index *index_writer_reader(struct index_writer *w);

struct index_state {
	uint64_t epoch;
	log_pos covered; /* replay from here */
	char boot[INDEX_BOOT_ID_MAX + 1];
};
bool index_writer_state(struct index_writer *w, struct index_state *out);
/* From now on this kernel writes: durable before the first change, so that another boot distrusts it. */
err_t index_writer_mark(struct index_writer *w, const char *boot, bool new_epoch);

struct index_txn *index_txn_begin(struct index_writer *w, err_t *err_out);
err_t index_txn_commit(struct index_txn **t, log_pos covered);
void index_txn_abort(struct index_txn **t);
err_t index_txn_err(const struct index_txn *t);

struct index_facts {
	uint64_t client, sequence; /* who asked; client 0: nobody to be remembered */
	uint64_t wall_s;
	log_pos at;   /* of its own record; 0: nothing is told of it */
	log_pos blob; /* DELIVER APPEND: where the message is; 0 in index_would_take() */
};

/* Carries it out. The answer lives until the next call on t. Counts nothing twice: the caller has asked
 * index_txn_answered() first. */
const struct operation_answer *index_apply(
    struct index_txn *t, const struct operation *op, const struct index_facts *facts);

/* DELIVER, APPEND: would anybody take it now? False: *answer_out (until the next call on t) says why
 * not, and nothing has changed; no bytes need to be written for it. */
bool index_would_take(struct index_txn *t, const struct operation *op, uint64_t wall_s,
    const struct operation_answer **answer_out);

/* The state as changed so far. */
bool index_txn_mailbox(struct index_txn *t, uint64_t id, struct index_mailbox *out);
bool index_txn_user(struct index_txn *t, struct span user, struct index_user *out);
bool index_txn_quota_mark(struct index_txn *t, struct span user, struct index_quota_mark *out);
void index_txn_types(struct index_txn *t, const struct index_mailbox *m,
    struct type_uses *mailbox_out, struct type_uses *user_out);
/* Of the messages with these uids. */
void index_txn_weigh(
    struct index_txn *t, uint64_t mailbox, const struct uid_set *set, struct type_uses *out);
/* Was a delivery with this id, to no folder, made to the user? */
bool index_txn_delivered(struct index_txn *t, struct span id, struct span user);

/* Bytes that op, of so many encoded, may add for good; about, and rather too many. */
uint64_t index_cost(struct index_txn *t, const struct operation *op, size_t encoded);

/* The encoded answer to an operation that was applied before; empty: not known. Forgets what the client
 * says it has heard (sequences below answered_below). */
struct span index_txn_answered(
    struct index_txn *t, uint64_t client, uint64_t sequence, uint64_t answered_below);

/* Mailboxes changed in this transaction, each once. */
void index_txn_touched(struct index_txn *t,
    void (*fn)(void *arg, uint64_t mailbox, uint64_t modseq, bool gone), void *arg);
/* Highest modseq in the committed state, 0: there is no such mailbox. */
uint64_t index_writer_modseq(struct index_writer *w, uint64_t mailbox);

/* ---- housekeeping: a little at a time ------------------------------------------------------------------ */

/* Forgets delivery ids older than before_s, and the oldest above keep_max; at most `most` of them. What a
 * later delivery does depends on it, so it is in the log; due: is there anything to forget? */
bool index_deliveries_due(struct index_txn *t, uint64_t before_s, uint64_t keep_max);
void index_prune_deliveries(struct index_txn *t, uint64_t before_s, uint64_t keep_max, size_t most);
/* Forgets answers older than before_s; says how many. Not in the log, like the next: no change ever
 * depends on it. */
size_t index_prune_answers(struct index_txn *t, uint64_t before_s, size_t most);
/* Takes blobs that have had no reference since before_s out of the index, at most `most`, and calls fn
 * with each: once this is committed their bytes may be forgotten. */
void index_take_dead(struct index_txn *t, uint64_t before_s, size_t most,
    void (*fn)(void *arg, log_pos blob), void *arg);
/* Is the blob in the index (referenced, or dead and not yet taken)? In committed state. */
bool index_writer_has_blob(struct index_writer *w, log_pos blob);

/* Bytes that can still be added, about: of size_max, what was never used or is free again. */
uint64_t index_writer_room(struct index_writer *w);

/* Space that readers pin who died while they read. */
void index_writer_drop_dead_readers(struct index_writer *w);

/* ---- events (index_event.c) ------------------------------------------------------------------------------ */

/* In order of the changes they tell of. */
struct index_event_id {
	log_pos at;
	uint32_t n; /* of that change */
};
typedef bool index_event_fn(
    void *arg, struct index_event_id id, uint64_t wall_s, struct span json); /* false stops */

/* Are they kept? Before anything is applied. */
void index_writer_events(struct index_writer *w, bool on);
/* Committed state: those after `after`; how many there are; which of them was said to be sent last. */
void index_writer_each_event(
    struct index_writer *w, struct index_event_id after, index_event_fn *fn, void *arg);
uint64_t index_writer_event_count(struct index_writer *w);
struct index_event_id index_writer_events_sent(struct index_writer *w);

struct index_events_done {
	struct index_event_id sent; /* everything up to here was sent */
	uint64_t before_s;          /* what was sent and is older goes */
	size_t over;                /* so many go in any case, the oldest first */
	size_t most;
};
/* Would any go? In committed state. */
bool index_writer_events_due(struct index_writer *w, const struct index_events_done *d);
/* Says how many went. */
size_t index_events_done(struct index_txn *t, const struct index_events_done *d);

/* ---- copies ---------------------------------------------------------------------------------------------- */

/* Writes a compact copy of the committed state to fd. May run in another thread. */
err_t index_writer_copy(struct index_writer *w, int fd);
/* What a copy covers; ERR_CORRUPT when it is not one. */
err_t index_copy_state(const char *path, struct index_state *out);

/* ---- a copy as rows, for the log (index_dump.c) ------------------------------------------------------------ */

/* Reads a copy; the file may be unlinked meanwhile. NULL: *err_out. */
struct index_dump;
struct index_dump *index_dump_open(const char *path, err_t *err_out);
/* Appends a piece of at least `most` bytes, and of at most a row more; *end_out: nothing is left. ERR_TOO_LONG: out is full. */
err_t index_dump_next(struct index_dump *d, size_t most, struct buf *out, bool *end_out);
void index_dump_close(struct index_dump **d);
/* Puts a piece into an index that was empty before the first one. ERR_CORRUPT: it is none of this version. */
err_t index_load(struct index_txn *t, struct span piece);

/* The newest rows that the log holds whole. */
struct index_base {
	log_pos at;      /* of the record that ends them; 0: there are none */
	log_pos covered; /* every change before it is in them */
	uint64_t bytes;  /* of all pieces */
};
void index_base_store(struct index_txn *t, const struct index_base *b);
struct index_base index_writer_base(struct index_writer *w); /* in committed state */
struct index_base index_copy_base(const char *path);         /* of a copy */
struct index_base index_view_base(struct index_view *v);

/* Rows come without caches. Messages before that position are to get one: */
void index_caches_gone(struct index_txn *t, log_pos before);
/* the next of them, 0: that was the last. False: there is nothing to do. */
bool index_cache_next(struct index_txn *t, log_pos *blob_out);
bool index_writer_caches_due(struct index_writer *w); /* in committed state */
void index_cache_store(struct index_txn *t, log_pos blob, struct span cache);

/* For tests and `check`: a digest of everything that the log determines. */
uint64_t index_writer_digest(struct index_writer *w);

#endif
