/* observed.c - a space-saving table of heavy keys, for people to look at. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"
#include "metermaid/observed.h"

enum { OBSERVED_MAX = 256, SAMPLE = 16 };

struct seen {
	char *key;  /* owned; NULL: free */
	char *rule; /* owned */
	char limit[64];
	uint64_t count, refused;
	uint64_t free_at_ms; /* when a refused key would pass again */
};

struct observed {
	struct map *by_key;
	struct seen v[OBSERVED_MAX];
	size_t n, hand;
};

struct observed *observed_new(void)
{
	struct observed *o = MEM_NEW(struct observed);
	o->by_key = map_new(OBSERVED_MAX);
	return o;
}

void observed_free(struct observed **o)
{
	if (*o == NULL)
		return;
	for (size_t i = 0; i < (*o)->n; i++) {
		mem_free((*o)->v[i].key);
		mem_free((*o)->v[i].rule);
	}
	map_free(&(*o)->by_key);
	MEM_FREE(o);
}

static uint64_t weight(const struct seen *s)
{
	return s->refused * 16 + s->count;
}

/* A place for a new key: a free one, or the lightest of a few that the hand passes. */
static struct seen *make_place(struct observed *o)
{
	if (o->n < OBSERVED_MAX)
		return &o->v[o->n++];
	struct seen *least = &o->v[o->hand];
	for (size_t i = 0; i < SAMPLE; i++) {
		struct seen *s = &o->v[(o->hand + i) % OBSERVED_MAX];
		if (weight(s) < weight(least))
			least = s;
	}
	o->hand = (o->hand + SAMPLE) % OBSERVED_MAX;
	map_remove(o->by_key, span_str(least->key));
	mem_free(least->key);
	mem_free(least->rule);
	least->refused = 0;
	return least;
}

static void put_limit(struct seen *s, const struct meter_key *k)
{
	struct buf b = BUF_INIT(sizeof s->limit - 1);
	rule_put_limit(k->rule, &k->rule->tiers[k->tier], (struct rule_limit){ k->window, 0 }, &b);
	struct span text = buf_span(&b);
	memcpy(s->limit, text.p, text.n);
	s->limit[text.n] = '\0';
	buf_end(&b);
}

void observed_note(struct observed *o, const struct observation *what)
{
	struct seen *s = map_get(o->by_key, what->text);
	if (s == NULL) {
		s = make_place(o);
		s->key = mem_span_str(what->text);
		s->rule = mem_str(what->key->rule->name);
		map_set(o->by_key, span_str(s->key), s, NULL);
	}
	put_limit(s, what->key);
	s->count += what->seen;
	s->refused += what->refused;
	s->free_at_ms = what->wait_us > 0 ? clock_mono_ms() + what->wait_us / 1000 : 0;
}

static int heavier_first(const void *a, const void *b)
{
	const struct seen *x = *(const struct seen *const *)a, *y = *(const struct seen *const *)b;
	if (x->refused != y->refused)
		return x->refused < y->refused ? 1 : -1;
	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

bool observed_put(struct observed *o, const char *only_rule, struct buf *out)
{
	const struct seen *order[OBSERVED_MAX] = { NULL };
	size_t n = 0, put = 0;
	uint64_t now = clock_mono_ms();
	for (size_t i = 0; i < o->n; i++)
		order[n++] = &o->v[i];
	qsort(order, n, sizeof order[0], heavier_first);
	for (size_t i = 0; i < n; i++) {
		const struct seen *s = order[i];
		if (only_rule != NULL && strcmp(only_rule, s->rule) != 0)
			continue;
		buf_add_str(out, put++ > 0 ? ",{\"rule\":" : "{\"rule\":");
		fmt_json_string(out, span_str(s->rule));
		buf_add_str(out, ",\"key\":");
		struct span key = span_str(s->key);
		size_t bar = span_find(key, '|');
		fmt_json_string(out, bar == SIZE_MAX ? key : span_from(key, bar + 1));
		buf_printf(out, ",\"count\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"limit\":\"%s\"",
		    s->count, s->refused, s->limit);
		buf_printf(out, ",\"retry_s\":%" PRIu64 "}",
		    s->free_at_ms > now ? (s->free_at_ms - now + 999) / 1000 : 0);
	}
	return buf_ok(out);
}
