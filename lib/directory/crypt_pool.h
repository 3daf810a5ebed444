/* crypt_pool.h - crypt(3) in a few threads, so that a slow hash never stalls the loop. Bounded queue. */
#ifndef DIRECTORY_CRYPT_POOL_H
#define DIRECTORY_CRYPT_POOL_H

#include <stdbool.h>

#include "base/span.h"
#include "net/loop.h"
#include "net/ticket.h"

struct crypt_pool;

enum { CRYPT_SETTINGS_MAX = 8 };

/* Threads start with the first question: after any fork of the daemon. */
struct crypt_pool *crypt_pool_new(struct loop *l, size_t threads, size_t queue_max);
/* Every ticket must be gone. Waits for hashes that are being computed. */
void crypt_pool_free(struct crypt_pool **p);

/* Is the secret that of one of the n settings (stored hashes)? All is copied, and wiped. NULL: the queue
 * is full. */
typedef void crypt_fn(void *arg, bool right);
struct ticket *crypt_pool_ask(struct crypt_pool *p, const struct span *settings, size_t n,
    struct span secret, crypt_fn *fn, void *arg);

#endif
