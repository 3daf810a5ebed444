/* asking.c - what is asked, before any state is: facts in one spelling, who is known, lists, keys. After:
 * question.c. Owns nothing. */
#include "base/check.h"
#include "base/clock.h"
#include "metermaid/known.h"
#include "metermaid/meter_internal.h"

static void fold_span(struct fold *to, struct span *s)
{
	size_t i = 0;
	while (i < s->n && ascii_lower(s->p[i]) == s->p[i])
		i++;
	if (i == s->n || s->n > FOLD_MAX - to->used)
		return;
	span_lower_to(to->text + to->used, *s);
	s->p = to->text + to->used;
	to->used += s->n;
}

/* Good logins are noted, and who tries to log in is looked for among them. */
static void look_known(enum meter_moment moment, bool peek, struct meter_facts *f)
{
	struct known *k = meter_host_known();
	f->known_ms = 0;
	if (k != NULL && moment == METER_LOGIN && f->authenticated && !peek)
		known_note(k, f->client, f->user, clock_mono_ms());
	if (k != NULL && moment == METER_AUTH)
		f->known_ms = known_since(k, f->client, f->user, clock_mono_ms());
}

static void begin(struct asking *a, bool peek, const struct meter_facts *f, struct fold *fold)
{
	fold->used = 0;
	a->f = *f;
	a->peek = peek;
	a->quiet = peek;
	a->n = 0;
	fold_span(fold, &a->f.user);
	fold_span(fold, &a->f.sender);
	fold_span(fold, &a->f.recipient);
	fold_span(fold, &a->f.helo);
	look_known(a->moment, peek, &a->f);
}

void asking_begin(
    struct asking *a, enum meter_moment moment, const struct meter_facts *f, struct fold *fold)
{
	a->moment = moment;
	begin(a, false, f, fold);
}

void asking_begin_peek(
    struct asking *a, enum meter_moment moment, const struct meter_facts *f, struct fold *fold)
{
	a->moment = moment;
	a->mode = OP_PEEK;
	begin(a, true, f, fold);
}

static bool is_banned(void *arg, const struct rule *list, const struct meter_facts *f)
{
	struct metermaid *m = OBJ(metermaid, arg);
	return bans_match(m->bans, list->name, f->client, f->user, clock_mono_ms());
}

enum local asking_judge(struct metermaid *m, const struct asking *a, struct meter_answer *out)
{
	const struct local_world world = { m->rules, is_banned, m, a->peek };
	return local_judge(&world, a->moment, &a->f, out);
}

void asking_gather(struct metermaid *m, struct asking *a)
{
	a->n = 0;
	for (size_t i = 0; i < m->rules->n; i++) {
		struct rule *r = &m->rules->v[i];
		if (r->kind != RULE_LIST && !r->never && rule_applies(r, a->moment, &a->f))
			a->n = rule_add_keys(r, &a->f, a->keys, a->n);
	}
	for (size_t i = 0; i < a->n; i++)
		if (a->keys[i].op.kind == OP_LEASE)
			a->keys[i].op.who = m->name;
}
