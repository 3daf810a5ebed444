/* shared.h - memory that the workers of a host share, and the lock in it; or the same for one worker alone. */
#ifndef METERMAID_SHARED_H
#define METERMAID_SHARED_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* Zeroed pages, given back by munmap(); shared: with every process that is forked afterwards. */
void *shared_map(size_t bytes, bool shared);

/* A robust lock: an owner that dies stops nobody, and leaves what it had written so far. */
void shared_lock_init(pthread_mutex_t *l, bool shared);
void shared_lock(pthread_mutex_t *l);

#endif
