/* partition.h - step 4 of 6: one partition open for writing: log, index, snapshots, and the workers that ask.
 *
 * Opening recovers: an index that this kernel (or an orderly stop) left is kept, else the newest good
 * snapshot is restored, else one is made of rows that the log holds, else an empty one; then the log is replayed from
 * where it ends. When
 * partition_open() returns everything that was ever answered is in the index.
 *
 * Any failure of the log or the index after that is final for this object: on_failed comes once, from the
 * loop, nothing is answered any more, and the owner closes it or ends the process. Opening anew recovers. */
#ifndef STORE_PARTITION_H
#define STORE_PARTITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "commitlog/commitlog.h"
#include "conf/conf.h"
#include "net/loop.h"

struct partition;

struct store_conf;

struct partition_settings {
	uint64_t snapshot_every_ms, snapshot_ops;
	uint64_t reclaim_after_s;
	bool keep_changes;      /* none is cut off the log, also when snapshots have it */
	uint64_t fold_after;    /* bytes of the log from rows of the index in it to the next ones */
	uint64_t space_reserve; /* bytes of the disk that new messages leave free */
	uint64_t delivery_ids_for_s, delivery_ids_max;
	uint64_t events_keep_s, events_max;
	const struct store_conf
	    *rules; /* of expiry: borrowed until the next partition_set(); or NULL */
	uint64_t expire_every_ms;
	bool text_index;      /* text indexes are wanted; else what there is of them is removed */
	const char *hostname; /* borrowed like rules: whom warnings are from */
};

/* Where events go (metermaid/redis_stream.h): all borrowed for the life of the partition. */
struct dns;
struct partition_events {
	const struct conf *conf;
	struct dns *dns;
	const char *stream;
	uint64_t stream_max; /* entries that the stream keeps, about; 0: all */
};

struct partition_opts {
	const char *name; /* for logs */
	const char *path; /* its folder; made when missing. log/ index/ snapshots/ are below it */
	const char *boot; /* id of this boot of the kernel; NULL: asked of the kernel */
	uint64_t segment_bytes, index_bytes;
	struct partition_settings settings;
	bool events;                              /* what happens is kept to be told of */
	const struct partition_events *events_to; /* NULL: nobody takes them now */
	bool distrust_index;                      /* make it anew from snapshot and log */
	bool skip_damaged; /* changes whose record is damaged are left out, and counted */
	void (*on_failed)(void *arg, const char *what, err_t err);
	void *arg;
};

/* Blocks until recovered. NULL: *err_out and *what_out ("log", "snapshot", ...) say why. */
struct partition *partition_open(
    struct loop *l, const struct partition_opts *opts, err_t *err_out, const char **what_out);
/* Operations without an answer stay without; the log may hold them. Waits for a snapshot that is being
 * written. */
void partition_close(struct partition **p);

void partition_set(struct partition *p, const struct partition_settings *s);
/* A worker has connected. */
void partition_accept(struct partition *p, int take_fd);
/* Copies the index now, unless that is going on. */
void partition_snapshot(struct partition *p);

/* Looks now for messages that expire. */
void partition_expire(struct partition *p);
/* Events since then are sent once more, as far as they are kept. False: nobody takes them. */
bool partition_rewind_events(struct partition *p, uint64_t since_s);

struct partition_facts {
	const char *how; /* "kept", "snapshot", "folded", "rebuilt" */
	uint64_t replayed;
	uint64_t skipped; /* damaged changes that were left out */
	uint64_t digest;  /* index_writer_digest() */
	/* Every change before that position is in rows that the log holds; 0: none. */
	uint64_t folded;
	bool caches_due; /* messages are still to get theirs again */
	size_t peers;
};
/* For tests: what there is now. */
struct partition_facts partition_facts(struct partition *p);

#endif
