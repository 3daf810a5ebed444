/* capability.c - the words that all stores have (step 3 of 5, beside front.c; learnt in route.c).
 *
 * Owns: for each store a set of bits, one for each configured word that it lacks. */
#include "mmp/capability.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

struct capability {
	const struct conf_strings *words; /* borrowed */
	struct map *stores;               /* key to struct known, owned */
	uint64_t lacking;                 /* of any store */
};

struct known {
	uint64_t lacks;
	uint64_t said; /* hash of the words it was learnt from: mostly they come again */
	bool doubted;
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

/* Words about the login, which is ours: stores need not say them. */
static bool is_ours(struct span word)
{
	return span_ieq_str(word, "SASL-IR") || span_ieq_str(word, "AUTH-RESP-CODE");
}

static uint64_t lacks(const struct conf_strings *words, struct span can)
{
	uint64_t set = 0;
	for (size_t i = 0; i < words->n; i++) {
		struct span rest = span_str(words->v[i]), word = span_cut(&rest, ' ');
		if (!span_has_word(can, word) && !is_ours(word))
			set |= UINT64_C(1) << i;
	}
	return set;
}

static bool add_store(void *arg, struct span key, void *value)
{
	uint64_t *all = arg;
	const struct known *k = value;
	*all |= k->lacks;
	return true;
}

bool capability_known(const struct capability *c, struct span store)
{
	const struct known *known = map_get(c->stores, store);
	return known != NULL && !known->doubted;
}

void capability_doubt(struct capability *c, struct span store)
{
	struct known *known = map_get(c->stores, store);
	if (known != NULL)
		known->doubted = true;
}

/* A store for which there is no room is asked about again at its next login. */
void capability_learn(struct capability *c, struct span store, struct span can)
{
	struct known *known = map_get(c->stores, store);
	uint64_t said = hash_keyed(can);
	if (known != NULL) {
		known->doubted = false;
		if (known->said == said)
			return;
		known->said = said;
	}
	uint64_t set = lacks(c->words, can);
	if (known != NULL && known->lacks == set)
		return;
	if (known == NULL) {
		known = MEM_NEW(struct known);
		known->said = said;
		if (!map_set(c->stores, store, known, NULL)) {
			mem_free(known);
			c->lacking |= set;
			return;
		}
	}
	known->lacks = set;
	c->lacking = 0;
	map_each(c->stores, add_store, &c->lacking);
}

bool capability_shows(const struct capability *c, size_t index)
{
	return (c->lacking >> index & 1) == 0;
}
