/* simulate.c - step 2 of a simulation: each recorded question again; see simulate.h. Before: sim_log.c; after:
 * sim_tally.c. Owns the state and the rules. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/map.h"
#include "base/mem.h"
#include "metermaid/digest_key.h"
#include "metermaid/meter_internal.h"
#include "metermaid/sim_state.h"
#include "metermaid/sim_tally.h"
#include "metermaid/simulate.h"

enum { BY_USER, BY_DOMAIN, BY_PREFIX, GROUPS };
static const uint64_t FOR_EVER = UINT64_MAX / 2;

/* What is known of a rule besides itself. */
struct sim_rule {
	uint64_t is; /* as it is here */
	bool same;   /* as it was when the records were made */
	bool host;   /* and its state was that of a host */
	uint64_t was, now;
};

struct sim_lease {
	unsigned worker;
	size_t n;
	struct key_id ids[LEASE_KEYS_MAX];
};

struct simulation {
	struct rules *rules;
	struct sim_rule facts[RULES_MAX + 1];
	struct sim_state *state;
	struct map *leases; /* by id: what is held now */
	struct sim_tally *groups[GROUPS];
	uint64_t lines, unreadable, decisions, corrected, changes[SIM_CHANGES];
	struct buf name; /* scratch */
};

/* A question that is asked again. */
struct again {
	struct simulation *s;
	const struct sim_line *line;
	const struct decision *d;
	struct asking a;
	size_t places[OPS_MAX];
	struct op_look looks[OPS_MAX];
	struct op_answer got;
	struct meter_answer said;
};

static struct sim_rule *facts_of(struct simulation *s, const struct rule *r)
{
	return &s->facts[r - s->rules->v];
}

static bool is_same(struct simulation *s, const struct rule *r)
{
	return facts_of(s, r)->same;
}

/* ---- what the records say beside decisions ---- */

static void take_rule(struct simulation *s, const struct decision *d)
{
	for (size_t i = 0; i < s->rules->n; i++) {
		if (!span_eq_str(d->rule, s->rules->v[i].name))
			continue;
		s->facts[i].same = s->facts[i].is == d->is;
		s->facts[i].host = span_eq(d->key, SPAN("host"));
	}
}

static void end_lease(struct simulation *s, struct sim_lease *l)
{
	for (size_t i = 0; i < l->n; i++) {
		size_t at = sim_state_find(s->state, l->ids[i]);
		struct sim_cell *c = at != SIZE_MAX ? sim_state_at(s->state, at) : NULL;
		if (c != NULL && c->state.n > 0)
			c->state.n--;
	}
	mem_free(l);
}

/* One that ends before it began, in the same moment, is remembered as one that holds nothing. */
static void take_end(struct simulation *s, const struct sim_line *line)
{
	struct span id = span_of(&line->d.lease, sizeof line->d.lease);
	struct sim_lease *l = map_remove(s->leases, id);
	if (l != NULL) {
		end_lease(s, l);
		return;
	}
	l = MEM_NEW(struct sim_lease);
	l->worker = line->worker;
	if (!map_set(s->leases, id, l, NULL))
		mem_free(l);
}

struct over {
	struct simulation *s;
	unsigned worker;
};

static bool end_of_worker(void *arg, struct span id, void *value)
{
	struct over *o = arg;
	struct sim_lease *l = value;
	if (l->worker == o->worker) {
		map_remove(o->s->leases, id);
		end_lease(o->s, l);
	}
	return true;
}

static void take_reset(struct simulation *s, const struct decision *d)
{
	struct meter_key keys[KEYS_PER_QUESTION_MAX];
	struct meter_facts f;
	int bits;
	for (size_t i = 0; i < s->rules->n; i++) {
		struct rule *r = &s->rules->v[i];
		if (r->kind == RULE_LIST || (d->rule.n > 0 && !span_eq_str(d->rule, r->name)) ||
		    !rule_key_facts(r, d->key, &f, &bits))
			continue;
		size_t n = rule_add_keys(r, &f, keys, 0);
		for (size_t k = 0; k < n; k++) {
			size_t at = sim_state_find(s->state, keys[k].op.id);
			if (at == SIZE_MAX || op_is_helper(keys[k].op.kind) ||
			    (bits >= 0 && rule_tier_bits(&r->tiers[keys[k].tier], &f) != bits))
				continue;
			sim_state_at(s->state, at)->state = (struct op_state){ .n = 0 };
		}
	}
}

/* ---- keys ---- */

/* "rule/tier/window/n,...": the n for this key, 0: none */
static uint64_t tokens_of(struct simulation *s, const struct decision *d, const struct meter_key *k)
{
	struct span rest = d->tokens;
	uint64_t tier, window, n;
	while (rest.p != NULL && rest.n > 0) {
		struct span one = span_cut(&rest, ',');
		if (!decision_take_name(&one, '/', &s->name))
			return 0;
		bool mine = span_eq_str(buf_span(&s->name), k->rule->name);
		if (one.p == NULL || !span_u64(span_cut(&one, '/'), UINT8_MAX, &tier) ||
		    one.p == NULL || !span_u64(span_cut(&one, '/'), UINT8_MAX, &window) ||
		    !span_u64(one, HOT_TOKENS_MAX, &n))
			return 0;
		if (mine && tier == k->tier && window == k->window)
			return n;
	}
	return 0;
}

static void gather(struct again *q)
{
	struct simulation *s = q->s;
	struct asking *a = &q->a;
	a->n = 0;
	for (size_t i = 0; i < s->rules->n; i++) {
		struct rule *r = &s->rules->v[i];
		/* what was taken too late was given back */
		if (r->kind == RULE_CONCURRENCY && q->d->letter == 'C')
			continue;
		if (r->kind != RULE_LIST && !r->never && rule_applies(r, a->moment, &a->f))
			a->n = rule_add_keys(r, &a->f, a->keys, a->n);
	}
	for (size_t i = 0; i < a->n; i++) {
		struct meter_key *k = &a->keys[i];
		sim_state_place(s->state, k->op.id);
		if (q->d->how == DECIDED_ASKED && is_same(s, k->rule))
			k->op.extra = tokens_of(s, q->d, k);
	}
	for (size_t i = 0; i < a->n; i++)
		q->places[i] = sim_state_find(s->state, a->keys[i].op.id);
}

static struct sim_cell *cell_of(const struct again *q, size_t i)
{
	return sim_state_at(q->s->state, q->places[i]);
}

/* ---- one look at all keys ---- */

static bool is_the_one(const struct decision *d, const struct meter_key *k)
{
	return span_eq_str(d->rule, k->rule->name) && d->tier == k->tier && d->window == k->window;
}

/* Its worker knew, or had to do without: the state was not asked. */
static bool was_known(const struct again *q, const struct meter_key *k)
{
	return q->d->letter == 'D' && q->d->how != DECIDED_ASKED && q->d->how != DECIDED_LOCAL &&
	       is_same(q->s, k->rule);
}

static struct op_look look_as_known(const struct again *q, const struct meter_key *k)
{
	bool tagged =
	    k->rule->action == ACT_TAG && q->d->tag.n > 0 && span_eq_str(q->d->tag, k->rule->tag);
	struct op_look l = { .wait_us = tagged };
	if (is_the_one(q->d, k) && q->d->how != DECIDED_TOKENS)
		l.wait_us = q->d->wait_us > 0 ? q->d->wait_us : 1;
	return l;
}

/* Exactly as where the state was: a host has only an estimate. */
static bool is_estimate(struct simulation *s, const struct rule *r)
{
	return is_same(s, r) && facts_of(s, r)->host;
}

static uint64_t users_of(const struct again *q, size_t i)
{
	const struct meter_key *k = &q->a.keys[i];
	if (is_estimate(q->s, k->rule))
		return op_users(&k->op, &cell_of(q, i)->state, q->d->us);
	return sim_state_users(q->s->state, &k->op, q->d->us);
}

static struct op_look look_at(const struct again *q, size_t i, struct op_look *before)
{
	const struct meter_key *k = &q->a.keys[i];
	const struct op_now now = { q->d->us, q->a.mode };
	struct op_look l = { .wait_us = 0 };
	if (k->op.kind == OP_USERS) {
		l.users = users_of(q, i);
		return l;
	}
	if (was_known(q, k))
		return look_as_known(q, k);
	struct op_state had = cell_of(q, i)->state;
	if (k->op.kind == OP_LEASE)
		had.t = 0;
	op_look(&k->op, &had, now, before, &l);
	if (k->op.kind == OP_LEASE)
		l.next.until = FOR_EVER;
	return l;
}

static void look(struct again *q)
{
	q->got = (struct op_answer){ .index = q->a.n };
	for (size_t i = 0; i < q->a.n; i++) {
		q->looks[i] = look_at(q, i, i > 0 ? &q->looks[i - 1] : NULL);
		op_weigh(&q->a.keys[i].op, i, &q->looks[i], &q->got);
	}
}

static bool is_kept(const struct again *q, size_t i, bool charged)
{
	const struct meter_key *k = &q->a.keys[i];
	if (k->op.kind == OP_USERS || was_known(q, k))
		return false;
	if (k->op.kind == OP_LEASE && q->d->lease == 0)
		return false; /* when it would have ended is not known */
	return charged || q->looks[i].always;
}

static void write_states(struct again *q)
{
	bool charged = q->a.mode == OP_FORCE || (q->a.mode == OP_TAKE && !q->got.hard);
	for (size_t i = 0; i < q->a.n; i++)
		if (is_kept(q, i, charged))
			cell_of(q, i)->state = q->looks[i].next;
}

/* ---- where the records know better ---- */

/* The state that makes the key wait as it was recorded; 0: lets it pass. */
static void set_right(const struct again *q, size_t i, uint64_t wait_us)
{
	const struct op *op = &q->a.keys[i].op;
	struct op_state *st = &cell_of(q, i)->state;
	uint64_t now = q->d->us, most = op->rate.tolerance_us;
	uint64_t cost = op->rate.interval_us * op->cost;
	cost = cost < most ? cost : most;
	switch (op->kind) {
	case OP_RATE:
	case OP_PENALTY:
		st->t = wait_us > 0 ? now + most + wait_us - cost : 0;
		st->until = st->until > st->t ? st->until : st->t;
		break;
	case OP_COUNTER:
		st->n = wait_us > 0 ? op->count : 0;
		st->until = now + wait_us;
		break;
	case OP_GREY:
		*st = (struct op_state){ .t = now + wait_us,
			.n = wait_us == 0,
			.until = now + (wait_us > 0 ? op->window_us : op->remember_us) };
		break;
	case OP_LEASE:
		st->n = wait_us > 0 ? op->count : op->count - op->cost;
		st->until = FOR_EVER;
		break;
	case OP_GREY_NET:
	case OP_LEASE_SET:
	case OP_USERS:
	case OP_KINDS:
		break;
	}
}

/* The key whose recorded state is not what came out here: it passed and would not, or the other way. */
static size_t find_wrong(const struct again *q, uint64_t *wait_us_out)
{
	bool right = q->got.index < q->a.n && is_the_one(q->d, &q->a.keys[q->got.index]);
	*wait_us_out = 0;
	if (q->got.index < q->a.n && !right)
		return q->got.index;
	for (size_t i = 0; !right && q->d->rule.n > 0 && i < q->a.n; i++)
		if (!op_is_helper(q->a.keys[i].op.kind) && is_the_one(q->d, &q->a.keys[i])) {
			*wait_us_out = q->d->wait_us;
			return i;
		}
	return SIZE_MAX;
}

static void correct(struct again *q)
{
	uint64_t wait_us;
	for (size_t tries = 0; tries < OPS_MAX; tries++) {
		size_t i = find_wrong(q, &wait_us);
		if (i == SIZE_MAX || !is_same(q->s, q->a.keys[i].rule) || cell_of(q, i)->strayed)
			return;
		set_right(q, i, wait_us);
		q->s->corrected++;
		look(q);
	}
}

/* ---- what comes of it ---- */

static void say(struct again *q)
{
	bool over = false;
	for (size_t i = 0; i < q->a.n; i++) {
		const struct rule *r = q->a.keys[i].rule;
		over = over || (q->got.over & UINT32_C(1) << i) != 0;
		if (i + 1 < q->a.n && q->a.keys[i + 1].rule == r)
			continue;
		if (over && r->action == ACT_TAG)
			q->said.tag = r->tag;
		over = false;
	}
	if (q->got.index < q->a.n)
		local_act(q->a.keys[q->got.index].rule, &q->said);
}

static enum sim_change change_of(const struct again *q)
{
	const struct decision *d = q->d;
	const struct meter_answer was = { .action = d->action };
	if (meter_lets_in(&was) != meter_lets_in(&q->said))
		return meter_lets_in(&was) ? SIM_STOPPED : SIM_LET_IN;
	bool same = d->action == q->said.action && d->disconnect == q->said.disconnect &&
		    span_eq_str(d->rule, q->said.rule) && span_eq(d->tag, span_str(q->said.tag));
	return same ? SIM_SAME : SIM_OTHERWISE;
}

static void count_change(struct simulation *s, const struct decision *d, enum sim_change what)
{
	struct span who = d->f.user.n > 0 ? d->f.user : d->f.sender;
	size_t at = span_rfind(who, '@');
	char net[IP_TEXT_SIZE] = "";
	s->changes[what]++;
	if (what == SIM_SAME)
		return;
	if (!ip_is_none(d->f.client))
		ip_prefix_text(ip_network(d->f.client, ip_is_v4(d->f.client) ? 24 : 48), net);
	sim_tally_add(s->groups[BY_USER], who, what);
	sim_tally_add(
	    s->groups[BY_DOMAIN], at == SIZE_MAX ? SPAN_NONE : span_from(who, at + 1), what);
	sim_tally_add(s->groups[BY_PREFIX], span_str(net), what);
}

static void count(struct again *q)
{
	struct simulation *s = q->s;
	s->decisions++;
	for (size_t i = 0; i < s->rules->n; i++) {
		s->facts[i].was += span_eq_str(q->d->rule, s->rules->v[i].name);
		s->facts[i].now += strcmp(q->said.rule, s->rules->v[i].name) == 0;
	}
	count_change(s, q->d, change_of(q));
}

/* From here on these keys go another way than they did. */
static void mark_strayed(struct again *q)
{
	bool was = q->d->rule.n > 0, is = q->said.rule[0] != '\0';
	for (size_t i = 0; was != is && i < q->a.n; i++)
		cell_of(q, i)->strayed = true;
}

static void hold(struct again *q)
{
	struct span id = span_of(&q->d->lease, sizeof q->d->lease);
	if (q->d->lease == 0 || !meter_lets_in(&q->said))
		return;
	struct sim_lease *l = MEM_NEW(struct sim_lease), *ended = map_remove(q->s->leases, id);
	l->worker = q->line->worker;
	for (size_t i = 0; i < q->a.n && l->n < LEASE_KEYS_MAX; i++)
		if (q->a.keys[i].op.kind == OP_LEASE && !was_known(q, &q->a.keys[i]))
			l->ids[l->n++] = q->a.keys[i].op.id;
	if (ended != NULL || !map_set(q->s->leases, id, l, NULL))
		end_lease(q->s, l);
	mem_free(ended);
}

static bool is_banned(void *arg, const struct rule *list, const struct meter_facts *f)
{
	const struct again *q = arg;
	struct span rest = q->d->bans;
	while (decision_take_name(&rest, ',', &q->s->name))
		if (span_eq_str(buf_span(&q->s->name), list->name))
			return true;
	return false;
}

static void learn_user(struct simulation *s, struct rule *r, const struct decision *d)
{
	struct meter_key keys[KEYS_PER_QUESTION_MAX];
	size_t n = rule_add_users(r, &d->f, keys, 0);
	for (size_t i = 0; i < n; i++) {
		const struct op *op = &keys[i].op;
		struct op_look l;
		if (!is_estimate(s, r)) {
			sim_state_note(s->state, op, d->us);
			continue;
		}
		struct sim_cell *c = sim_state_at(s->state, sim_state_place(s->state, op->id));
		op_look(op, &c->state, (struct op_now){ d->us, OP_FORCE }, NULL, &l);
		c->state = l.next;
	}
}

/* A rule that was the same has records of its own of what it learned. */
static void learn_users(struct simulation *s, const struct decision *d)
{
	bool recorded = d->letter == 'U';
	if (!s->rules->grow || (!recorded && !learned_shows_login(d->moment, &d->f)))
		return;
	for (size_t i = 0; i < s->rules->n; i++) {
		struct rule *r = &s->rules->v[i];
		if (rule_grows(r) && is_same(s, r) == recorded &&
		    (!recorded || span_eq_str(d->rule, r->name)))
			learn_user(s, r, d);
	}
}

static void ask_again(struct simulation *s, const struct sim_line *line)
{
	struct again q = { .s = s, .line = line, .d = &line->d };
	const struct local_world world = { s->rules, is_banned, &q, false };
	q.a.f = q.d->f;
	q.a.moment = q.d->moment;
	q.a.mode = q.d->mode;
	q.said = (struct meter_answer){ .rule = "" };
	enum local local =
	    q.d->letter == 'D' ? local_judge(&world, q.a.moment, &q.a.f, &q.said) : LOCAL_NOTHING;
	if (q.d->letter == 'D')
		learn_users(s, q.d);
	if (local != LOCAL_DECIDED) {
		gather(&q);
		look(&q);
		if (q.d->letter == 'D' && q.d->how == DECIDED_ASKED)
			correct(&q);
		write_states(&q);
		say(&q);
	}
	if (q.d->letter != 'D')
		return;
	hold(&q);
	mark_strayed(&q);
	count(&q);
}

static void take_line(struct simulation *s, const struct sim_line *line)
{
	switch (line->d.letter) {
	case 'D':
	case 'C':
		ask_again(s, line);
		break;
	case 'E':
		take_end(s, line);
		break;
	case 'R':
		take_rule(s, &line->d);
		break;
	case 'U':
		learn_users(s, &line->d);
		break;
	case 'Z':
		take_reset(s, &line->d);
		break;
	default:
		break;
	}
	if (line->worker_is_over || line->d.letter == 'X')
		map_each(s->leases, end_of_worker, &(struct over){ s, line->worker });
}

void simulation_run(struct simulation *s, struct sim_log *log)
{
	struct sim_line line;
	sim_log_sort(log);
	s->lines = sim_log_count(log);
	for (size_t i = 0; i < sim_log_count(log); i++)
		if (sim_log_line(log, i, &line))
			take_line(s, &line);
	s->unreadable = sim_log_unreadable(log);
}

/* ---- the report ---- */

void simulation_put_json(const struct simulation *s, struct buf *out)
{
	static const char *const names[GROUPS] = { "users", "domains", "prefixes" };
	const char *sep = "";
	buf_printf(out, "{\"lines\":%" PRIu64 ",\"unreadable\":%" PRIu64 ",\"decisions\":%" PRIu64,
	    s->lines, s->unreadable, s->decisions);
	buf_printf(out,
	    ",\"changed\":%" PRIu64 ",\"stopped\":%" PRIu64 ",\"let_in\":%" PRIu64
	    ",\"otherwise\":%" PRIu64 ",\"corrected\":%" PRIu64 ",\"rules\":[",
	    s->decisions - s->changes[SIM_SAME], s->changes[SIM_STOPPED], s->changes[SIM_LET_IN],
	    s->changes[SIM_OTHERWISE], s->corrected);
	for (size_t i = 0; i < s->rules->n; i++) {
		buf_printf(out, "%s{\"rule\":", sep);
		fmt_json_string(out, span_str(s->rules->v[i].name));
		buf_printf(out, ",\"was\":%" PRIu64 ",\"now\":%" PRIu64 "}", s->facts[i].was,
		    s->facts[i].now);
		sep = ",";
	}
	buf_add_char(out, ']');
	for (size_t i = 0; i < GROUPS; i++) {
		buf_printf(out, ",\"%s\":", names[i]);
		sim_tally_put_json(s->groups[i], SIMULATE_TOP, out);
	}
	buf_add_char(out, '}');
}

struct simulation *simulation_new(const struct conf *rules)
{
	struct simulation *s = MEM_NEW(struct simulation);
	digest_key_prepare();
	s->rules = rules_new(rules);
	s->state = sim_state_new();
	s->leases = map_new(SIMULATE_LEASES_MAX);
	s->name = BUF_INIT(DECISION_LINE_MAX);
	for (size_t i = 0; i < GROUPS; i++)
		s->groups[i] = sim_tally_new(SIMULATE_NAMES_MAX);
	for (size_t i = 0; i < s->rules->n; i++) {
		s->rules->v[i].slot = SIZE_MAX;
		if (s->rules->v[i].conf != NULL)
			s->facts[i].is =
			    conf_block_revision(&meter_rule_block, s->rules->v[i].conf);
	}
	return s;
}

static bool free_lease(void *arg, struct span key, void *value)
{
	mem_free(value);
	return true;
}

void simulation_free(struct simulation **s)
{
	struct simulation *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	map_each(gone->leases, free_lease, NULL);
	map_free(&gone->leases);
	for (size_t i = 0; i < GROUPS; i++)
		sim_tally_free(&gone->groups[i]);
	sim_state_free(&gone->state);
	rules_unref(&gone->rules);
	buf_end(&gone->name);
	mem_free(gone);
}
