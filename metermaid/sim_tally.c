/* sim_tally.c - step 3 of a simulation; see sim_tally.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"
#include "metermaid/sim_tally.h"

struct counted {
	uint64_t n[SIM_CHANGES];
	size_t name_n;
	char name[];
};

struct sim_tally {
	struct map *by_name;
};

struct sim_tally *sim_tally_new(size_t names_max)
{
	struct sim_tally *t = MEM_NEW(struct sim_tally);
	t->by_name = map_new(names_max);
	return t;
}

static bool free_one(void *arg, struct span key, void *value)
{
	mem_free(value);
	return true;
}

void sim_tally_free(struct sim_tally **t)
{
	if (*t == NULL)
		return;
	map_each((*t)->by_name, free_one, NULL);
	map_free(&(*t)->by_name);
	MEM_FREE(t);
}

void sim_tally_add(struct sim_tally *t, struct span name, enum sim_change what)
{
	if (name.n == 0 || what == SIM_SAME)
		return;
	struct counted *c = map_get(t->by_name, name);
	if (c == NULL) {
		c = mem_alloc(sizeof *c + name.n);
		c->name_n = name.n;
		memcpy(c->name, name.p, name.n);
		if (!map_set(t->by_name, name, c, NULL)) {
			mem_free(c);
			return;
		}
	}
	c->n[what]++;
}

static uint64_t sum_of(const struct counted *c)
{
	return c->n[SIM_STOPPED] + c->n[SIM_LET_IN] + c->n[SIM_OTHERWISE];
}

struct sorted {
	const struct counted **v;
	size_t n;
};

static bool gather(void *arg, struct span key, void *value)
{
	struct sorted *s = arg;
	s->v[s->n++] = value;
	return true;
}

static int most_first(const void *a, const void *b)
{
	const struct counted *x = *(const struct counted *const *)a,
			     *y = *(const struct counted *const *)b;
	if (sum_of(x) != sum_of(y))
		return sum_of(x) < sum_of(y) ? 1 : -1;
	int by_name = memcmp(x->name, y->name, x->name_n < y->name_n ? x->name_n : y->name_n);
	return by_name != 0 ? by_name : x->name_n < y->name_n ? -1 : x->name_n > y->name_n;
}

void sim_tally_put_json(struct sim_tally *t, size_t n, struct buf *out)
{
	struct sorted s = { .v = mem_array(map_count(t->by_name) + 1, sizeof *s.v) };
	map_each(t->by_name, gather, &s);
	if (s.n > 0)
		qsort(s.v, s.n, sizeof *s.v, most_first);
	buf_add_char(out, '[');
	for (size_t i = 0; i < s.n && i < n; i++) {
		buf_add_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
		fmt_json_string(out, span_of(s.v[i]->name, s.v[i]->name_n));
		buf_printf(out,
		    ",\"stopped\":%" PRIu64 ",\"let_in\":%" PRIu64 ",\"otherwise\":%" PRIu64 "}",
		    s.v[i]->n[SIM_STOPPED], s.v[i]->n[SIM_LET_IN], s.v[i]->n[SIM_OTHERWISE]);
	}
	buf_add_char(out, ']');
	mem_free(s.v);
}
