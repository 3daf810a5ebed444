/* compress.h - a stream's bytes as raw DEFLATE (RFC 1951) both ways, e.g. for IMAP's COMPRESS (RFC 4978).
 * Private to lib/net, as zlib is.
 *
 * At rest it holds the peer's history alone, as much as it may refer to still (32 KiB at most, and no more than was
 * received): the compressor's memory goes with the end of each burst of output, the decompressor's whenever the
 * peer's data stands between two blocks. */
#ifndef NET_COMPRESS_H
#define NET_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct compress;

/* input_max: bytes that may be handed over at once. */
struct compress *compress_new(size_t input_max);
void compress_free(struct compress **c);

/* Appends what becomes of `in` to out; flush: all of it, and nothing is remembered of it afterwards. */
void compress_pack(struct compress *c, struct span in, bool flush, struct buf *out);

/* Raw bytes of the peer wait to be unpacked. */
void compress_take(struct compress *c, struct span raw);
bool compress_has_pending(const struct compress *c);
/* Unpacks up to n bytes. False: they are no DEFLATE data, or its end. */
bool compress_unpack(struct compress *c, char *out, size_t n, size_t *got_out);

#endif
