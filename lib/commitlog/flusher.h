/* flusher.h - the one extra thread: runs one job at a time that may block on the disk.
 *
 * The owner's thread hands over a job and hears from its loop when it is done. In between the job's
 * memory belongs to the thread. */
#ifndef COMMITLOG_FLUSHER_H
#define COMMITLOG_FLUSHER_H

#include <stdbool.h>

#include "net/loop.h"

struct flusher;

/* NULL: no thread or no descriptor. done runs from the loop after each job. */
struct flusher *flusher_new(struct loop *l, void (*done)(void *arg), void *arg);
void flusher_run(struct flusher *f, void (*job)(void *arg), void *arg); /* only when not busy */
bool flusher_busy(const struct flusher *f);
void flusher_free(struct flusher **f); /* waits for the job; done is not called any more */

#endif
