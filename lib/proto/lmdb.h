/* lmdb.h - one key looked up in an LMDB file (data format 1, as liblmdb 0.9 on a 64-bit little-endian host writes it),
 * without liblmdb and without mapping the file.
 *
 * Nothing in the file is believed: page numbers, kinds, offsets and sizes are held against the bytes that are there,
 * a walk goes down at most LMDB_DEPTH_MAX pages. Somebody else may write meanwhile: an answer counts only when the
 * newest meta page is the same before and after, for until then no page of its tree may be used again. */
#ifndef PROTO_LMDB_H
#define PROTO_LMDB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	LMDB_DEPTH_MAX = 32,
	LMDB_PAGE_MIN = 256,
	LMDB_PAGE_MAX = 32 * 1024,
	LMDB_KEY_MAX = 511,
};

/* All of n bytes from place `at` of the file on, or false: they are not there, or cannot be read. */
struct lmdb_source {
	bool (*read)(void *arg, uint64_t at, void *into, size_t n);
	void *arg;
};

enum lmdb_answer { LMDB_FOUND, LMDB_ABSENT, LMDB_BROKEN };

/* The key in the main database of the file. FOUND: its value is added to out, as it is. BROKEN: nothing can be said,
 * *why_out (a constant) says why; also when the value does not fit into out. Empty keys, and those above LMDB_KEY_MAX,
 * are absent. */
enum lmdb_answer lmdb_find(
    const struct lmdb_source *src, struct span key, struct buf *out, const char **why_out);

/* The newest state of the file, without a look at its pages. False: it is no such file. */
struct lmdb_state {
	uint64_t txnid;   /* grows with each change */
	uint64_t entries; /* as the file says */
	uint64_t root;    /* page; UINT64_MAX: nothing is in it */
	uint32_t page_size;
	uint16_t depth, flags;
};
bool lmdb_read_state(const struct lmdb_source *src, struct lmdb_state *out, const char **why_out);

#endif
