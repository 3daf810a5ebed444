/* snapshot.h - durable copies of the index: made beside the loop, checked and restored at start.
 *
 * A snapshot is a file named by the log position it covers and the checksum of its bytes. It is written
 * under another name, synced, renamed, and the folder synced: what has a name is whole. */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "store-backend/index_write.h"

enum { SNAPSHOTS_MAX = 16, SNAPSHOTS_KEPT = 2, SNAPSHOT_PATH_SIZE = 1200 };

struct snapshot {
	log_pos covered;
	uint32_t crc;
};

/* One copy: a job for another thread. writer and dir are borrowed until it is done. */
struct snapshot_job {
	struct index_writer *writer;
	const char *dir;
	struct snapshot made; /* out, like the rest */
	uint64_t bytes, ms;
	const char *what; /* step that failed */
	err_t err;
};
void snapshot_make(void *arg); /* struct snapshot_job */

/* Makes the folder when missing and removes what a crash left half-written. */
err_t snapshot_prepare(const char *dir);
/* False: too long. */
bool snapshot_path(char out[SNAPSHOT_PATH_SIZE], const char *dir, const struct snapshot *s);
/* Newest first; returns how many. */
size_t snapshot_list(const char *dir, struct snapshot out[SNAPSHOTS_MAX]);
/* Copies one to `to` (replaced atomically). ERR_CORRUPT: its bytes are not what they were. */
err_t snapshot_restore(const char *dir, const struct snapshot *s, const char *to);
/* Does its checksum hold? Reads all of it. */
bool snapshot_is_good(const char *dir, const struct snapshot *s);
/* One that is good becomes the file itself, and is none any more. */
err_t snapshot_take(const char *dir, const struct snapshot *s, const char *to);
/* Removes all but the newest SNAPSHOTS_KEPT. The oldest that is left, covered 0: fewer than that are there. */
struct snapshot snapshot_trim(const char *dir);

#endif
