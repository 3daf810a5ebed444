/* text_grams.c - the grams of a text; see text_grams.h. Beside: text_index.c. Owns nothing else. */
#include "store-backend/text_grams.h"

#include <string.h>

#include "base/mem.h"

enum { POSSIBLE = 1 << 24, WORDS = POSSIBLE / 64 };

void text_grams_init(struct text_grams *g)
{
	*g = (struct text_grams){ .seen = mem_array(WORDS, sizeof g->seen[0]),
		.v = mem_array(TEXT_GRAMS_MAX, sizeof g->v[0]) };
	memset(g->seen, 0, WORDS * sizeof g->seen[0]);
}

static void put(struct text_grams *g, uint32_t gram)
{
	uint64_t bit = UINT64_C(1) << gram % 64;
	if ((g->seen[gram / 64] & bit) != 0)
		return;
	if (g->n == TEXT_GRAMS_MAX) {
		g->too_many = true;
		return;
	}
	g->seen[gram / 64] |= bit;
	g->v[g->n++] = gram;
}

void text_grams_put(struct text_grams *g, struct span text)
{
	uint32_t gram = 0;
	for (size_t i = 0; i < text.n; i++) {
		gram = (gram << 8 | (unsigned char)text.p[i]) & (POSSIBLE - 1);
		if (i + 1 >= TEXT_GRAM)
			put(g, gram);
	}
}

void text_grams_clear(struct text_grams *g)
{
	for (size_t i = 0; i < g->n; i++)
		g->seen[g->v[i] / 64] = 0;
	g->n = 0;
	g->too_many = false;
}

void text_grams_end(struct text_grams *g)
{
	mem_free(g->seen);
	mem_free(g->v);
	*g = (struct text_grams){ 0 };
}
