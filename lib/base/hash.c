/* hash.c - keyed hash (SipHash, Aumasson and Bernstein) and CRC-32C, hardware when there. */
#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include "base/hash.h"
#include "base/rand.h"

static uint64_t rotl(uint64_t v, unsigned n)
{
	return (v << n) | (v >> (64 - n));
}

/* Inlined, the four words stay in registers: half the time. */
static inline __attribute__((always_inline)) void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static inline __attribute__((always_inline)) void sip_rounds(uint64_t v[4], int n)
{
	for (int i = 0; i < n; i++)
		sip_round(v);
}

static inline __attribute__((always_inline)) void sip_word(uint64_t v[4], uint64_t m, int rounds)
{
	v[3] ^= m;
	sip_rounds(v, rounds);
	v[0] ^= m;
}

static inline __attribute__((always_inline)) uint64_t sip(
    const struct hash_key *key, struct span s, int each, int last_rounds)
{
	uint64_t v[4] = { key->k0 ^ 0x736f6d6570736575u, key->k1 ^ 0x646f72616e646f6du,
		key->k0 ^ 0x6c7967656e657261u, key->k1 ^ 0x7465646279746573u };
	uint64_t last = (uint64_t)s.n << 56, m;
	size_t i = 0;
	for (; i + 8 <= s.n; i += 8) {
		memcpy(&m, s.p + i, 8);
		sip_word(v, m, each);
	}
	for (unsigned shift = 0; i < s.n; i++, shift += 8)
		last |= (uint64_t)(unsigned char)s.p[i] << shift;
	sip_word(v, last, each);
	v[2] ^= 0xff;
	sip_rounds(v, last_rounds);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_sip(const struct hash_key *key, struct span s)
{
	return sip(key, s, 2, 4);
}

uint64_t hash_keyed(struct span s)
{
	static struct hash_key key;
	while (key.k0 == 0)
		rand_bytes(&key, sizeof key);
	return sip(&key, s, 1, 3);
}

static uint32_t crc_soft(uint32_t crc, const unsigned char *p, size_t n)
{
	static uint32_t table[256];
	if (table[1] == 0)
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;
			for (int k = 0; k < 8; k++)
				c = (c >> 1) ^ ((c & 1) != 0 ? 0x82f63b78u : 0);
			table[i] = c;
		}
	for (size_t i = 0; i < n; i++)
		crc = table[(crc ^ p[i]) & 0xff] ^ (crc >> 8);
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_hard(
    uint32_t crc, const unsigned char *p, size_t n)
{
	uint64_t c = crc, w;
	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&w, p, 8);
		c = _mm_crc32_u64(c, w);
	}
	for (; n > 0; p++, n--)
		c = _mm_crc32_u8((uint32_t)c, *p);
	return (uint32_t)c;
}
#endif

uint32_t hash_crc32c(uint32_t crc, const void *p, size_t n)
{
	if (n == 0)
		return crc;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_hard(~crc, p, n);
#endif
	return ~crc_soft(~crc, p, n);
}
