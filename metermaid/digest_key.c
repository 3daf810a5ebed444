/* digest_key.c - SipHash under two keys that the master makes before it forks. */
#include "base/hash.h"
#include "base/rand.h"
#include "metermaid/digest_key.h"

static struct hash_key keys[2];

void digest_key_prepare(void)
{
	while (keys[0].k0 == 0)
		rand_bytes(keys, sizeof keys);
}

struct key_id digest_key_of(struct span s)
{
	digest_key_prepare();
	return (struct key_id){ hash_sip(&keys[0], s), hash_sip(&keys[1], s) };
}
