/* learned.c - users who log in well, and from which networks: what rules with `grow` count.
 *
 * A user is noted where the state is when a question shows that it has logged in: then again when a part
 * of grow_for is over, and no more often. Owns what this worker has lately noted. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "metermaid/meter_internal.h"

enum { NOTED_MAX = 8192, NOTED_PART = 8 };

struct learned {
	struct {
		uint64_t of, until_ms; /* network and user */
	} v[NOTED_MAX]; /* one that falls on another's place is noted once more, that is all */
};

struct learned *learned_new(void)
{
	return MEM_NEW(struct learned);
}

void learned_free(struct learned **l)
{
	MEM_FREE(l);
}

void learned_forget(struct learned *l)
{
	memset(l, 0, sizeof *l);
}

/* Is it time to note what this key says? */
static bool is_due(struct learned *l, const struct op *op, uint64_t now_ms)
{
	uint64_t of = op->id.h1 ^ op->who;
	bool due = l->v[of % NOTED_MAX].of != of || l->v[of % NOTED_MAX].until_ms <= now_ms;
	if (due) {
		l->v[of % NOTED_MAX].of = of;
		l->v[of % NOTED_MAX].until_ms = now_ms + op->remember_us / 1000 / NOTED_PART;
	}
	return due;
}

static void keep_due(struct metermaid *m, struct asking *a)
{
	uint64_t now_ms = clock_mono_ms();
	size_t n = 0;
	for (size_t i = 0; i < a->n; i++)
		if (is_due(m->learned, &a->keys[i].op, now_ms))
			a->keys[n++] = a->keys[i];
	a->n = n;
}

bool learned_shows_login(enum meter_moment moment, const struct meter_facts *f)
{
	bool then = moment == METER_LOGIN || moment == METER_MAIL || moment == METER_MESSAGE;
	return then && f->authenticated && f->user.n > 0 && !ip_is_none(f->client);
}

void learned_note(struct metermaid *m, enum meter_moment moment, const struct meter_facts *f)
{
	if (!m->rules->grow || !learned_shows_login(moment, f))
		return;
	struct asking a = { .f = *f, .mode = OP_FORCE, .quiet = true };
	for (size_t i = 0; i < m->rules->n; i++)
		if (rule_grows(&m->rules->v[i]))
			a.n = rule_add_users(&m->rules->v[i], f, a.keys, a.n);
	keep_due(m, &a);
	if (a.n == 0)
		return;
	for (size_t i = 0; m->redis != NULL && i < a.n; i++) { /* for while it is away */
		struct op op = a.keys[i].op;
		table_question(
		    m->share, &op, 1, (struct op_now){ clock_mono_ms() * 1000, OP_FORCE });
	}
	question_charge(m, &a);
}
