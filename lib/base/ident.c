/* ident.c - time-ordered random ids in a human-safe alphabet. */
#include "base/clock.h"
#include "base/ident.h"
#include "base/rand.h"

static const char alphabet[33] = "23456789abcdefghijkmnpqrstuvwxyz";
static const uint64_t epoch_2020_ms = 1577836800000u;

struct ident ident_new(void)
{
	struct ident id = { { 0 } };
	uint64_t ms = clock_wall_us() / 1000 - epoch_2020_ms;
	uint64_t v = (ms << 24) | (rand_u64() & 0xffffff);
	for (int i = IDENT_LEN - 1; i >= 0; i--) {
		id.s[i] = alphabet[v & 31];
		v >>= 5;
	}
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
