/* sim_state.c - an open table of keys that grows, and sets of users; see sim_state.h. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "metermaid/sim_state.h"

enum { CELLS_FIRST = 1 << 16, CROWD_FIRST = 4 };

struct crowd {
	size_t n, room;
	struct one {
		uint64_t who, last_us;
	} * v;
};

struct sim_state {
	struct sim_cell *cells;
	size_t room, n; /* room: a power of 2 */
	struct crowd *crowds;
	uint32_t crowd_n, crowd_room;
};

struct sim_state *sim_state_new(void)
{
	struct sim_state *s = MEM_NEW(struct sim_state);
	s->room = CELLS_FIRST;
	s->cells = mem_array(s->room, sizeof *s->cells);
	return s;
}

void sim_state_free(struct sim_state **s)
{
	struct sim_state *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	for (uint32_t i = 0; i < gone->crowd_n; i++)
		mem_free(gone->crowds[i].v);
	mem_free(gone->crowds);
	mem_free(gone->cells);
	mem_free(gone);
}

static size_t slot_of(const struct sim_state *s, struct key_id id)
{
	size_t i = id.h1 & (s->room - 1);
	while ((s->cells[i].id.h1 | s->cells[i].id.h2) != 0 &&
	       (s->cells[i].id.h1 != id.h1 || s->cells[i].id.h2 != id.h2))
		i = (i + 1) & (s->room - 1);
	return i;
}

static void grow(struct sim_state *s)
{
	struct sim_cell *old = s->cells;
	size_t was = s->room;
	s->room *= 2;
	s->cells = mem_array(s->room, sizeof *s->cells);
	for (size_t i = 0; i < was; i++)
		if ((old[i].id.h1 | old[i].id.h2) != 0)
			s->cells[slot_of(s, old[i].id)] = old[i];
	mem_free(old);
}

size_t sim_state_find(const struct sim_state *s, struct key_id id)
{
	size_t at = slot_of(s, id);
	return (s->cells[at].id.h1 | s->cells[at].id.h2) != 0 ? at : SIZE_MAX;
}

size_t sim_state_place(struct sim_state *s, struct key_id id)
{
	size_t at = sim_state_find(s, id);
	if (at != SIZE_MAX)
		return at;
	if (s->n * 2 >= s->room)
		grow(s);
	s->n++;
	at = slot_of(s, id);
	s->cells[at] = (struct sim_cell){ .id = id };
	return at;
}

struct sim_cell *sim_state_at(struct sim_state *s, size_t place)
{
	CHECK(place < s->room);
	return &s->cells[place];
}

/* ---- users ---- */

static struct crowd *crowd_of(struct sim_state *s, struct key_id id)
{
	struct sim_cell *c = &s->cells[sim_state_place(s, id)];
	if (c->crowd == 0) {
		if (s->crowd_n == s->crowd_room) {
			s->crowd_room = s->crowd_room == 0 ? 64 : s->crowd_room * 2;
			s->crowds = mem_grow(s->crowds, s->crowd_room, sizeof *s->crowds);
		}
		s->crowds[s->crowd_n] = (struct crowd){ .n = 0 };
		c->crowd = ++s->crowd_n;
	}
	return &s->crowds[c->crowd - 1];
}

/* Bounded as in Redis: who was there longest ago makes room. */
void sim_state_note(struct sim_state *s, const struct op *op, uint64_t now_us)
{
	struct crowd *c = crowd_of(s, op->id);
	size_t oldest = 0, at = 0;
	for (; at < c->n && c->v[at].who != op->who; at++)
		oldest = c->v[at].last_us < c->v[oldest].last_us ? at : oldest;
	if (at == c->n && c->n >= op->grow_max)
		at = oldest;
	if (at == c->room) {
		c->room = c->room == 0 ? CROWD_FIRST : c->room * 2;
		c->v = mem_grow(c->v, c->room, sizeof *c->v);
	}
	c->n = at < c->n ? c->n : at + 1;
	c->v[at] = (struct one){ op->who, now_us };
}

uint64_t sim_state_users(struct sim_state *s, const struct op *op, uint64_t now_us)
{
	size_t at = sim_state_find(s, op->id);
	uint64_t n = 0;
	if (at == SIZE_MAX || s->cells[at].crowd == 0)
		return 0;
	const struct crowd *c = &s->crowds[s->cells[at].crowd - 1];
	for (size_t i = 0; i < c->n; i++)
		n += c->v[i].last_us + op->remember_us >= now_us;
	return n < op->grow_max ? n : op->grow_max;
}
