/* sim_log.h - recorded decisions of many workers in the order of their time.
 *
 * Files are mapped, not read into memory; 32 bytes are kept for each line. */
#ifndef METERMAID_SIM_LOG_H
#define METERMAID_SIM_LOG_H

#include "base/buf.h"
#include "metermaid/decision.h"

enum { SIM_FILES_MAX = 65536 };
static const size_t SIM_LINES_MAX = (size_t)1 << 30;

struct sim_log;
struct sim_log *sim_log_new(void);
void sim_log_free(struct sim_log **l);
/* A file, or a folder with files as record.h names them. False: why says why not. */
bool sim_log_add(struct sim_log *l, const char *path, struct buf *why);

/* Sorts; afterwards nothing is added. */
void sim_log_sort(struct sim_log *l);
size_t sim_log_count(const struct sim_log *l);
size_t sim_log_unreadable(
    const struct sim_log *l); /* lines so far, not counting the last of a file */
/* The line at a place. worker_out: a number for its worker. worker_is_over: it was the last line of a
 * worker that did not say that it ends. False: it cannot be read. */
struct sim_line {
	struct decision d; /* spans live until the next call */
	unsigned worker;
	bool worker_is_over;
};
bool sim_log_line(struct sim_log *l, size_t at, struct sim_line *out);

#endif
