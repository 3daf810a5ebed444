/* capability.c - the words that all stores have (step 3 of 5, beside front_imap.c; learnt in route.c).
 *
 * Owns: for each store a set of bits, one for each configured word that it lacks. */
#include "mmp/capability.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/imap_resp.h"

struct capability {
	const struct conf_strings *words; /* borrowed */
	struct map *stores;               /* key to uint64_t of what the store lacks, owned */
	uint64_t lacking;                 /* of any store */
};

struct capability *capability_new(size_t stores_max)
{
	static const struct conf_strings none = { .n = 0 };
	struct capability *c = MEM_NEW(struct capability);
	c->words = &none;
	c->stores = map_new(stores_max);
	return c;
}

static bool forget_store(void *arg, struct span key, void *value)
{
	struct capability *c = arg;
	map_remove(c->stores, key);
	mem_free(value);
	return true;
}

void capability_reset(struct capability *c, const struct conf_strings *words)
{
	CHECK(words->n <= CAPABILITY_WORDS_MAX);
	map_each(c->stores, forget_store, c);
	c->words = words;
	c->lacking = 0;
}

void capability_free(struct capability **c)
{
	if (*c == NULL)
		return;
	map_each((*c)->stores, forget_store, *c);
	map_free(&(*c)->stores);
	MEM_FREE(c);
}

/* SASL-IR is about the login, which is ours: stores need not say it behind theirs. */
static uint64_t lacks(const struct conf_strings *words, struct span can)
{
	uint64_t set = 0;
	for (size_t i = 0; i < words->n; i++)
		if (!imap_words_have(can, words->v[i]) &&
		    !span_ieq_str(SPAN("SASL-IR"), words->v[i]))
			set |= UINT64_C(1) << i;
	return set;
}

static bool add_store(void *arg, struct span key, void *value)
{
	uint64_t *all = arg;
	*all |= *(const uint64_t *)value;
	return true;
}

/* A store for which there is no room is asked about again at its next login. */
void capability_learn(struct capability *c, struct span store, struct span can)
{
	uint64_t set = lacks(c->words, can), *known = map_get(c->stores, store);
	if (can.n == 0 || (known != NULL && *known == set))
		return;
	if (known == NULL) {
		known = mem_alloc(sizeof *known);
		if (!map_set(c->stores, store, known, NULL)) {
			mem_free(known);
			c->lacking |= set;
			return;
		}
	}
	*known = set;
	c->lacking = 0;
	map_each(c->stores, add_store, &c->lacking);
}

bool capability_shows(const struct capability *c, size_t index)
{
	return (c->lacking >> index & 1) == 0;
}
