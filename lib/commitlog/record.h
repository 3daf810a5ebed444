/* record.h - how segments and records look on disk (inside lib/commitlog only).
 *
 * A segment file "%08x.seg" is a 32-byte segment header and records, each a 32-byte header, the payload
 * and zeros up to a multiple of 8. All numbers are little-endian.
 *
 *	segment: magic "PSeg" | number u32 | salt u64 | durable u64 | version u32 | crc u32
 *	record:  magic "PRec" | length u32 | type u32 | payload crc u32 | durable u64 | header crc u32 | state u32
 *
 * The header crc also covers the record's position and the log's salt, so neither a stale copy nor
 * bytes of a message can look like a record. `durable` is the end of what was durable when the record
 * was written: a bad record before that point of any later record is damage, and one behind it is what a
 * crash left of appends that nobody was told of. The state word is outside the crc: it is set to
 * "dead" in place, and an aligned word is never torn. */
#ifndef COMMITLOG_RECORD_H
#define COMMITLOG_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "commitlog/commitlog.h"

enum {
	SEGMENT_HEADER_BYTES = 32,
	RECORD_HEADER_BYTES = 32,
	RECORD_STATE_AT = 28,
	SEGMENT_NAME_SIZE = 16
};
#define RECORD_STATE_LIVE 0x4556494cu
#define RECORD_STATE_DEAD 0x44414544u

struct segment_header {
	uint32_t number;
	uint64_t salt;
	log_pos durable;
};
void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_HEADER_BYTES]);
bool segment_header_decode(const uint8_t raw[SEGMENT_HEADER_BYTES], struct segment_header *out);
/* Reads and checks the header of an open segment. */
err_t segment_header_read(int fd, uint32_t number, struct segment_header *out);
/* The same; salt is that of the log, and stands in for what a damaged header says (then *damaged_out). The records
 * behind it are as good as ever. ERR_IO. */
err_t segment_header_or(
    int fd, uint32_t number, uint64_t salt, struct segment_header *out, bool *damaged_out);
/* A copy of the salt stands in the file "lock", for the day when the only segment's header is damaged. */
enum { SALT_TEXT_BYTES = 17 };
bool log_salt_read(int dir_fd, uint64_t *salt_out);
err_t log_salt_write(int lock_fd, uint64_t salt); /* not synced */
const char *segment_name(uint32_t number, char out[SEGMENT_NAME_SIZE]);
bool segment_name_parse(const char *name, uint32_t *number_out);

struct record_header {
	uint32_t length, type, payload_crc;
	log_pos durable;
	bool dead;
};
void record_header_encode(
    const struct record_header *h, log_pos at, uint64_t salt, uint8_t out[RECORD_HEADER_BYTES]);
bool record_header_decode(
    const uint8_t raw[RECORD_HEADER_BYTES], log_pos at, uint64_t salt, struct record_header *out);

static inline uint64_t record_bytes(uint32_t length) /* on disk, with header and padding */
{
	return RECORD_HEADER_BYTES + (((uint64_t)length + 7) & ~(uint64_t)7);
}
static inline log_pos pos_of(uint32_t number, uint64_t offset)
{
	return (uint64_t)number << 32 | offset;
}
static inline uint32_t pos_segment(log_pos p)
{
	return (uint32_t)(p >> 32);
}
static inline uint64_t pos_offset(log_pos p)
{
	return p & UINT32_MAX;
}

/* pread of exactly n bytes; ERR_NOT_FOUND when the file ends before. */
err_t read_full(int fd, void *out, size_t n, uint64_t at);

/* ---- going over the records of one segment ---------------------------------------------------------- */

enum walk_result { WALK_RECORD, WALK_END, WALK_BAD, WALK_IO };
enum { WALK_WINDOW = 256 * 1024 };

struct walk {
	int fd; /* borrowed */
	uint32_t number;
	uint64_t salt;
	uint64_t size; /* of the file */
	uint64_t at;   /* offset of the next header; after WALK_BAD, of the bad one */
	bool failed;   /* the disk did: what was not found may be there */
	uint64_t window_at;
	size_t window_n;
	uint8_t *window; /* owned */
};
err_t walk_init(struct walk *w, int fd, const struct segment_header *h, uint64_t from);
void walk_end(struct walk *w);
/* WALK_RECORD: *pos_out and *out are the next record, w->at is behind it. A record whose payload reaches
 * over the end of the file is bad. */
enum walk_result walk_next(struct walk *w, log_pos *pos_out, struct record_header *out);
/* After WALK_BAD: over the damage, to the next record that can be walked over or to the file's end. How many bytes. */
uint64_t walk_skip(struct walk *w);
/* The payload of a record just walked over, into out (cleared first): ERR_CORRUPT when the checksum is
 * wrong. */
err_t walk_payload(struct walk *w, log_pos pos, const struct record_header *h, struct buf *out);
/* Does any whole record header at or behind `from` say that more than `pos` was durable? Then what is at
 * pos had been acknowledged. */
bool walk_proves_durable(struct walk *w, uint64_t from, log_pos pos);

#endif
