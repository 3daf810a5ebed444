/* rand.h - random bytes from the kernel (getrandom): for keys, ids and jitter alike. */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *out, size_t n);
uint64_t rand_u64(void);             /* from a per-process pool; safe across fork */
uint64_t rand_below(uint64_t bound); /* uniform in [0, bound); bound > 0 */

#endif
