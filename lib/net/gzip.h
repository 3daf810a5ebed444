/* gzip.h - a whole text as a gzip file (RFC 1952), for reports. */
#ifndef NET_GZIP_H
#define NET_GZIP_H

#include <stdbool.h>

#include "base/buf.h"

/* Appends it to out; false: it does not fit. */
bool gzip_pack(struct span in, struct buf *out);

#endif
