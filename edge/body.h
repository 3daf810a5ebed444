/* body.h - the content of one message: in memory up to a bound, then in an unlinked file.
 *
 * Holds the message as it will be delivered: CRLF line ends only, dot-stuffing removed, trace header
 * lines added by body_prepend(). One owner; readers borrow. */
#ifndef EDGE_BODY_H
#define EDGE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

struct body;

enum { BODY_HEAD_MAX = 2 * 1024 * 1024 }; /* all that is put in front */

/* memory_max: bytes kept in memory; size_max: ERR_TOO_LONG beyond it (the rest must still be
 * swallowed by the caller until the end of data). dir: for the overflow file. */
struct body *body_new(size_t memory_max, uint64_t size_max, const char *dir);
void body_free(struct body **b);
err_t body_add(struct body *b, struct span bytes);
err_t body_prepend(
    struct body *b, struct span header_lines); /* before the first byte; once or more */
/* The first `drop` bytes are no longer part of it; head stands in their place. ERR_TOO_LONG: more than
 * BODY_HEAD_MAX in front; nothing has changed then. */
err_t body_set_head(struct body *b, uint64_t drop, struct span head);
uint64_t body_size(const struct body *b); /* with what was prepended */

/* Up to n bytes (at most 1 MiB) at `at`: a span that is valid until the next call on b. Short only at the end; empty
 * with *err_out set when the file cannot be read. */
struct span body_read(struct body *b, uint64_t at, size_t n, err_t *err_out);

/* A file without a name in dir, for reading and writing; -1 and errno: none. */
int body_file(const char *dir);

#endif
