/* bytes.h - fields of binary records: little-endian numbers and strings with their length.
 *
 * Readers are sticky: after the first field that does not fit every reader gives 0 or an empty span and
 * bytes_ok() is false. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/span.h"

void bytes_put_u8(struct buf *out, unsigned v);
void bytes_put_u16(struct buf *out, unsigned v);
void bytes_put_u32(struct buf *out, uint64_t v);
void bytes_put_u64(struct buf *out, uint64_t v);
void bytes_put_string(struct buf *out, struct span s); /* at most 65535 bytes */
void bytes_put_ident(struct buf *out, struct ident id);

struct bytes_reader {
	struct span rest;
	bool bad;
};

static inline struct bytes_reader bytes_reader_of(struct span s)
{
	return (struct bytes_reader){ .rest = s };
}

uint8_t bytes_u8(struct bytes_reader *r);
uint16_t bytes_u16(struct bytes_reader *r);
uint32_t bytes_u32(struct bytes_reader *r);
uint64_t bytes_u64(struct bytes_reader *r);
struct span bytes_raw(struct bytes_reader *r, size_t n);
struct span bytes_string(struct bytes_reader *r, size_t max);
struct ident bytes_ident(struct bytes_reader *r); /* "" or a well-formed one */

static inline bool bytes_ok(const struct bytes_reader *r)
{
	return !r->bad;
}

#endif
