/* hash.h - SipHash for tables that peers can fill and for marks that they must not be able to make, CRC-32C for records on disk. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct hash_key {
	uint64_t k0, k1;
};

uint64_t hash_sip(const struct hash_key *key, struct span s); /* SipHash-2-4 */
/* SipHash-1-3 with this process's random key: for tables, whose places nobody is shown. */
uint64_t hash_keyed(struct span s);

/* CRC-32C (Castagnoli). Start with 0; feeding in pieces gives the same result. */
uint32_t hash_crc32c(uint32_t crc, const void *p, size_t n);

#endif
