/* record.h - lines of decision records in files of this worker: bounded, rotated, never waited for.
 *
 * Files are FOLDER/TIME-WORKER.decisions, TIME in microseconds since 1970, so that their names stand in
 * the order of their begin. The sum of all such files in the folder, of every worker, is kept below
 * record_max by removing the oldest ones. */
#ifndef METERMAID_RECORD_H
#define METERMAID_RECORD_H

#include "metermaid/meter_conf.h"
#include "net/loop.h"

enum { RECORD_NAME_LEN = 16 + 1 + 16 + 10, RECORD_BUFFER = 64 * 1024, RECORD_FLUSH_MS = 500 };

struct record;
/* Off until record_configure(). name: this worker's. begin is called for each new file: it adds lines that
 * belong at its head, by record_add(). */
struct record *record_new(struct loop *l, uint64_t name, void (*begin)(void *arg), void *arg);
void record_free(struct record **r); /* what is buffered is written */
bool record_is_on(const struct record *r);
/* Whole lines. */
void record_add(struct record *r, struct span lines);
/* conf: rows record*; borrowed until record_free() or the next call. */
void record_configure(struct record *r, const struct metermaid_conf *conf);

/* Is it the name of such a file? */
bool record_is_name(const char *name);

#endif
