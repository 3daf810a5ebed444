/* partition_replay.h - records of a log are carried out in an index: at start, and for a copy beside a store that works
 * (tool_shadow.c). */
#ifndef STORE_PARTITION_REPLAY_H
#define STORE_PARTITION_REPLAY_H

#include "store-backend/index_write.h"

struct partition_replay {
	struct index_writer *writer; /* borrowed */
	const char *name;            /* borrowed: of the partition, for the log lines */
	bool skip_damaged;           /* a change that cannot be read is left out */
	struct index_txn *t;         /* owned: open while changes are not committed */
	unsigned in_txn;
	uint64_t replayed, skipped; /* out */
	err_t err;
};

/* For commitlog_replay(), arg: the struct. False: err says why, and nothing further can be carried out. */
bool partition_replay_record(void *arg, const struct log_record *rec);
/* What is open becomes the state that covers the log up to there; OK as well when nothing is. */
err_t partition_replay_commit(struct partition_replay *r, log_pos covered);
void partition_replay_end(struct partition_replay *r);

#endif
