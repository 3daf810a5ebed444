/* digest_key.h - keyed digests that are the same in all workers of a host. */
#ifndef METERMAID_DIGEST_KEY_H
#define METERMAID_DIGEST_KEY_H

#include "base/span.h"
#include "metermaid/op.h"

/* Makes the keys, once; workers inherit them. */
void digest_key_prepare(void);
struct key_id digest_key_of(struct span s);

#endif
