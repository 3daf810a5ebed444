/* scram_keys.h - what a server needs to check SCRAM-SHA-256: from a stored value, or out of a password. Pure. */
#ifndef DIRECTORY_SCRAM_KEYS_H
#define DIRECTORY_SCRAM_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "net/digest.h"

enum {
	SCRAM_KEY_LEN = DIGEST_SHA256_LEN,
	SCRAM_SALT_LEN = 16,
	SCRAM_SALT_MAX = 64,
	SCRAM_ROUNDS = 4096
};

struct scram_keys {
	unsigned rounds;
	size_t salt_n;
	uint8_t salt[SCRAM_SALT_MAX];
	uint8_t stored[SCRAM_KEY_LEN], server[SCRAM_KEY_LEN];
};

/* From "{SCRAM-SHA-256}..." (see proto/scram.h). False: another scheme, or malformed. */
bool scram_keys_read(struct span value, struct scram_keys *out);
/* From the password, with the salt and the rounds that are set in *k. Costs about a millisecond for each 4096
 * rounds. */
void scram_keys_derive(struct scram_keys *k, struct span secret);
/* Is it the password behind the stored value? As slow. */
bool scram_keys_fit(struct span value, struct span secret);

#endif
