/* incoming.h - a message while it arrives (LMTP DATA, IMAP APPEND): in memory up to a bound, then in an
 * unlinked temporary file; at the end the source of an operation, with its parse cache. */
#ifndef STORE_INCOMING_H
#define STORE_INCOMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "store-backend/operation.h"

struct incoming;

/* memory_max: bytes held in memory. size_max: the whole message. temp_dir is copied. */
struct incoming *incoming_new(size_t memory_max, uint64_t size_max, const char *temp_dir);
void incoming_free(struct incoming **in);

/* Appends bytes as they are. The first error stays: ERR_TOO_LONG past size_max, ERR_IO, ERR_NO_SPACE for the
 * file; the memory is given back then, and more bytes may be added for nothing. */
err_t incoming_add(struct incoming *in, struct span bytes);
/* The same, with line ends made CRLF: a store holds no other. State is kept between the calls; call
 * incoming_add_end() after the last piece. */
err_t incoming_add_text(struct incoming *in, struct span bytes);
err_t incoming_add_end(struct incoming *in);

uint64_t incoming_size(const struct incoming *in);
bool incoming_has_nul(const struct incoming *in); /* seen by incoming_add_text() */
err_t incoming_err(const struct incoming *in);

/* The same for several messages that were added one behind the other, of these sizes: out->cache stays empty, each
 * has its own in caches_out, as long as all fit 3 MiB. */
err_t incoming_sources(struct incoming *in, const uint64_t *sizes, size_t n,
    struct message_source *out, struct span *caches_out);

/* Parses and fills *out, whose spans and file belong to `in` and live until it is freed. */
err_t incoming_source(struct incoming *in, struct message_source *out);

#endif
