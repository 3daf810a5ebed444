/* keep_file.h - a small file of the queue process beside the spool: read whole at start, replaced whole now and then.
 *
 * For what is worth keeping over a restart and may be lost by a power cut: nothing is synced. */
#ifndef EDGE_KEEP_FILE_H
#define EDGE_KEEP_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* All of it behind what out has. ERR_NOT_FOUND: there is none; ERR_TOO_LONG: it is larger than out's maximum; else the
 * disk's. */
err_t keep_file_read(const char *path, struct buf *out);
/* Readers see the old file or the new one. */
err_t keep_file_write(const char *path, struct span bytes);

#endif
