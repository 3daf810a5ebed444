/* ident.c - time-ordered random ids in a human-safe alphabet. */
#include "base/clock.h"
#include "base/ident.h"
#include "base/rand.h"

static const char alphabet[33] = "23456789abcdefghijkmnpqrstuvwxyz";
static const uint64_t epoch_2020_ms = 1577836800000u;

enum {
	TIME_CHARS = 9
}; /* 41 bits of time and 4 random ones; every character behind them is random */

static void put_chars(char *out, int n, uint64_t v)
{
	while (n-- > 0) {
		out[n] = alphabet[v & 31];
		v >>= 5;
	}
}

struct ident ident_new(void)
{
	struct ident id = { { 0 } };
	uint64_t ms = clock_wall_us() / 1000 - epoch_2020_ms, random = rand_u64();
	put_chars(id.s, TIME_CHARS, ms << 4 | (random & 15));
	put_chars(id.s + TIME_CHARS, IDENT_LEN - TIME_CHARS, random >> 4);
	return id;
}

bool ident_parse(struct span text, struct ident *out)
{
	if (text.n != IDENT_LEN)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '\0' || span_find(span_of(alphabet, 32), text.p[i]) == SIZE_MAX)
			return false;
	memcpy(out->s, text.p, IDENT_LEN);
	out->s[IDENT_LEN] = '\0';
	return true;
}

struct ident ident_derived(struct ident from, uint64_t hash)
{
	put_chars(from.s + TIME_CHARS, IDENT_LEN - TIME_CHARS, hash);
	return from;
}
