/* partition_rows.h - rows of the index that the log holds in place of its oldest changes: found, read through, and an index
 * made of them. At start, and beside a committer that works. */
#ifndef STORE_PARTITION_ROWS_H
#define STORE_PARTITION_ROWS_H

#include "store-backend/index_write.h"

enum { ROWS_PIECE_MAX = 5 * 1024 * 1024 }; /* of one record */

/* Where the newest rows end in the log before `to`, which must be durable; ERR_NOT_FOUND: it holds none. Reads all of it. */
err_t rows_find(struct commitlog_reader *reader, log_pos to, log_pos *end_out);
/* Are all rows there that end at `end`? Reads them. ERR_CORRUPT: not as they were written. */
err_t rows_check(struct commitlog_reader *reader, log_pos end);
/* Puts them into an index that is empty. Every change before *covered_out is in them. What failed has made no index: its
 * files are to be removed. */
err_t rows_restore(
    struct commitlog_reader *reader, log_pos end, struct index_writer *w, log_pos *covered_out);

#endif
