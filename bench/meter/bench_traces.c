/* bench_traces.c - logins as they come in hard cases, against the recommended rules, Dovecot's penalty and counting
 * as fail2ban does it: how many good logins are turned away, how many passwords an attacker gets tested.
 *
 * usage: bench_traces LIMITS.conf [GUARD]. The clock is the trace's; the same seed gives the same figures. Guessers are patient
 * before a password is looked at and hang up 3 seconds after: a right one would have been answered. */
#include "tests/unit/meter/place.h"

#include "base/heap.h"

#include "bench/meter/traces.h"

enum { MINUTE = 60000, HOUR = 60 * MINUTE, PATIENCE_MS = 3000, SHUT_OUT_MS = MINUTE, RIGHT = 1 };

/* ---- Postern ---- */

static struct {
	const char *path; /* of the recommended rules */
	bool strict;      /* the rule that is shadow there defers */
	unsigned begun;   /* each trace has names of its own in the tables */
	struct loop *l;
	struct conf *c;
	struct metermaid *m;
} us;

static void postern_end(void)
{
	metermaid_free(&us.m);
	conf_unref(&us.c);
	if (us.l != NULL)
		loop_free(&us.l);
}

static char *rules_text(void)
{
	static char text[16384];
	FILE *f = fopen(us.path, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	char *shadow = strstr(text, "action shadow;");
	assert_non_null(shadow);
	if (us.strict)
		memcpy(shadow, "action  defer;", 14);
	return text;
}

static void postern_begin(void)
{
	postern_end();
	us.begun++;
	us.l = loop_new();
	us.c = load(rules_text(), NULL);
	assert_non_null(us.c);
	us.m = metermaid_new(us.l, NULL, us.c);
}

static void postern_begin_strict(void)
{
	us.strict = true;
	postern_begin();
}

static struct meter_answer decide(enum meter_moment moment, const struct meter_facts *f)
{
	struct meter_answer a;
	assert_true(meter_ask_now(us.m, moment, f, &a));
	meter_release(&a.lease);
	return a;
}

/* As the multiplexor and the edge ask. */
static struct verdict postern(const struct login *a)
{
	char user[48];
	snprintf(user, sizeof user, "user%u@trace%u.example", a->user, us.begun);
	struct meter_facts f = {
		.client = a->client, .user = span_str(user), .secret_hash = a->secret
	};
	struct meter_answer m = decide(METER_CONNECT, &f);
	if (!meter_lets_in(&m))
		return (struct verdict){ .tested = false };
	m = decide(METER_AUTH, &f);
	if (!meter_lets_in(&m))
		return (struct verdict){ .tested = false };
	if (!a->right) {
		meter_charge(us.m, METER_AUTH, &f);
		return (struct verdict){ true, 0,
			FAILURE_MS + (m.action == METER_DELAY ? m.retry_ms : 0) };
	}
	f.authenticated = true;
	m = decide(METER_LOGIN, &f);
	bool in = meter_lets_in(&m);
	m = decide(METER_SESSION, &f);
	return (struct verdict){ .tested = in && meter_lets_in(&m) };
}

static const struct guard guard_postern = { "postern", postern_begin, postern, postern_end },
			  guard_strict = { "postern_strict", postern_begin_strict, postern,
				  postern_end };

/* ---- actors ---- */

static bool quick;
static uint64_t seed;

static uint64_t next(void) /* splitmix64 */
{
	uint64_t z = (seed += 0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
	return next() % n;
}

/* Between half the mean and half as much again. */
static uint64_t around(uint64_t mean)
{
	return mean / 2 + below(mean + 1);
}

enum kind { GOOD, STALE, BOT };

struct trace {
	const char *name;
	unsigned users, stale, bots, targets;
	uint64_t first_ms, every_ms;    /* good logins: when they begin, and then */
	unsigned typos_pct, roamers_pm; /* of good logins */
	uint64_t attack_ms, pause_ms;   /* when bots begin, and between two tries */
	uint64_t length_ms;
	const char *shared;    /* all good users come from there; NULL: each from its own */
	const char *bots_from; /* %u: each its own; NULL: from `shared` */
	unsigned guests;       /* so many users are in the attacker's network */
	bool trusted, hops;    /* a webmail host; a bot that is shut out has more addresses */
};

struct actor {
	struct heap_node node; /* first */
	enum kind kind;
	unsigned n;      /* of its kind */
	unsigned hopped; /* addresses used up */
	bool mistyped;   /* the next try is the one after a typo */
};

struct count {
	uint64_t good, blocked, waited_ms, guesses, guessing_ms;
};

static struct ip_addr addr_of(const char *pattern, unsigned n)
{
	struct ip_addr a;
	char text[64];
	if (strchr(pattern, ':') != NULL)
		snprintf(text, sizeof text, "%s:%x::1", pattern, n & 0xffff);
	else
		snprintf(text, sizeof text, "%s.%u.%u", pattern, n >> 8 & 255, n & 255);
	if (!ip_parse(span_str(text), &a))
		assert_true(ip_parse(span_str(pattern), &a));
	return a;
}

static struct ip_addr client_of(const struct trace *t, const struct actor *a, bool roams)
{
	if (a->kind == BOT && t->bots_from != NULL)
		return addr_of(t->bots_from, a->n + a->hopped * t->bots);
	if (roams)
		return addr_of("100.64", (unsigned)below(65536));
	if (a->kind == GOOD && a->n < t->guests)
		return addr_of(t->bots_from, 0xff00 + a->n);
	return t->shared != NULL ? addr_of(t->shared, 0) : addr_of("198.18", a->n);
}

static struct login try_of(const struct trace *t, struct actor *a, bool wrong)
{
	bool roams = a->kind == GOOD && below(1000) < t->roamers_pm;
	return (struct login){
		.client = client_of(t, a, roams),
		.user = a->kind == BOT ? (unsigned)below(t->targets) : a->n,
		.secret = a->kind == STALE ? 2
			  : wrong          ? (uint32_t)(next() | 4)
					   : RIGHT,
		.right = !wrong,
		.trusted = t->trusted && !roams,
	};
}

/* A good user, who may mistype and then tries again. When the next try is. */
static uint64_t act_good(
    const struct trace *t, const struct guard *g, struct actor *a, struct count *c)
{
	bool wrong = !a->mistyped && below(100) < t->typos_pct;
	struct login l = try_of(t, a, wrong);
	struct verdict v = g->judge(&l);
	a->mistyped = wrong;
	if (!wrong) {
		c->good++;
		c->blocked += !v.tested;
		c->waited_ms += v.before_ms;
	}
	return v.before_ms + v.after_ms + (wrong ? 8000 : around(t->every_ms));
}

static uint64_t act_bot(
    const struct trace *t, const struct guard *g, struct actor *a, struct count *c)
{
	struct login l = try_of(t, a, true);
	struct verdict v = g->judge(&l);
	uint64_t wait = v.after_ms < PATIENCE_MS ? v.after_ms : PATIENCE_MS;
	c->guesses += v.tested;
	if (v.tested)
		return v.before_ms + wait + t->pause_ms + 1;
	a->hopped += t->hops;
	return (t->hops ? 1000 : SHUT_OUT_MS) + t->pause_ms;
}

static uint64_t act(const struct trace *t, const struct guard *g, struct actor *a, struct count *c)
{
	if (a->kind == GOOD)
		return act_good(t, g, a, c);
	if (a->kind == BOT)
		return act_bot(t, g, a, c);
	struct login l = try_of(t, a, true);
	struct verdict v = g->judge(&l);
	return v.before_ms + v.after_ms + 30000;
}

static struct actor *cast(const struct trace *t, struct heap *h, uint64_t now, unsigned *n_out)
{
	unsigned n = t->users + t->stale + t->bots;
	struct actor *all = mem_array(n, sizeof *all);
	for (unsigned i = 0; i < n; i++) {
		struct actor *a = &all[i];
		a->kind = i < t->users ? GOOD : i < t->users + t->stale ? STALE : BOT;
		a->n = i - (a->kind == GOOD       ? 0
			       : a->kind == STALE ? t->users
						  : t->users + t->stale);
		uint64_t at = a->kind == BOT ? t->attack_ms + below(t->pause_ms + 1000)
					     : below(t->first_ms + 1);
		heap_put(h, &a->node, now + at);
	}
	*n_out = n;
	return all;
}

static void play(const struct trace *t, const struct guard *g, struct count *c)
{
	struct heap h = { 0 };
	unsigned n;
	uint64_t begin = clock_mono_ms() + HOUR;
	uint64_t length_ms = quick && t->hops ? t->length_ms / 2 : t->length_ms;
	seed = 1;
	g->begin();
	struct actor *all = cast(t, &h, begin, &n);
	for (;;) {
		struct heap_node *first = heap_first(&h);
		if (first->due > begin + length_ms)
			break;
		if (first->due > clock_mono_ms())
			clock_fake_advance(first->due - clock_mono_ms());
		uint64_t wait = act(t, g, (struct actor *)(void *)first, c);
		heap_put(&h, first, clock_mono_ms() + wait);
	}
	c->guessing_ms = length_ms - t->attack_ms;
	for (unsigned i = 0; i < n; i++)
		heap_remove(&h, &all[i].node);
	heap_end(&h);
	mem_free(all);
	g->end();
}

/* ---- the traces ---- */

static const struct trace traces[] = {
	/* 500 people behind one address come in the morning; 3 devices have an old password */
	{ .name = "office",
	    .users = 500,
	    .stale = 3,
	    .first_ms = 10 * MINUTE,
	    .every_ms = 15 * MINUTE,
	    .typos_pct = 1,
	    .length_ms = 8 * HOUR,
	    .shared = "203.0.113.7" },
	/* among 2000 subscribers behind one address one guesses, with 4 connections, at all 50,000 accounts */
	{ .name = "cgnat",
	    .users = 2000,
	    .first_ms = HOUR,
	    .every_ms = HOUR,
	    .typos_pct = 2,
	    .bots = 4,
	    .targets = 50000,
	    .attack_ms = HOUR,
	    .length_ms = 8 * HOUR,
	    .shared = "203.0.113.7" },
	/* a webmail host; a guesser uses it too, for 50 accounts */
	{ .name = "webmail",
	    .users = 5000,
	    .first_ms = HOUR,
	    .every_ms = 30 * MINUTE,
	    .typos_pct = 1,
	    .bots = 20,
	    .targets = 50,
	    .attack_ms = HOUR,
	    .length_ms = 8 * HOUR,
	    .shared = "192.0.2.80",
	    .trusted = true },
	/* 200 bots with all of a /48 before them, in which 20 good users are too */
	{ .name = "botnet48",
	    .users = 500,
	    .first_ms = HOUR,
	    .every_ms = 30 * MINUTE,
	    .typos_pct = 1,
	    .bots = 200,
	    .targets = 500,
	    .attack_ms = HOUR,
	    .length_ms = 4 * HOUR,
	    .bots_from = "2001:db8:77",
	    .guests = 20,
	    .hops = true },
	/* 3000 addresses, each tries one account each 20 minutes; 5 of 1000 good logins come from new places */
	{ .name = "spray",
	    .users = 5000,
	    .first_ms = HOUR,
	    .every_ms = 2 * HOUR,
	    .typos_pct = 1,
	    .roamers_pm = 5,
	    .bots = 3000,
	    .targets = 5000,
	    .attack_ms = 2 * HOUR,
	    .pause_ms = 20 * MINUTE,
	    .length_ms = 48 * HOUR,
	    .bots_from = "198.51" },
};

static void figure(const char *trace, const char *guard, const char *what, double value)
{
	printf("figure trace_%s_%s_%s %.6g\n", trace, guard, what, value);
	fflush(stdout);
}

static void tell(const struct trace *t, const struct guard *g)
{
	struct count c = { 0 };
	play(t, g, &c);
	figure(t->name, g->name, "good_logins", (double)c.good);
	figure(t->name, g->name, "good_blocked_pct", 100.0 * (double)c.blocked / (double)c.good);
	figure(t->name, g->name, "good_wait_s", (double)c.waited_ms / 1000 / (double)c.good);
	if (t->bots > 0)
		figure(t->name, g->name, "guesses_per_h",
		    (double)c.guesses * HOUR / (double)c.guessing_ms);
}

/* QUICK: the strict rule where it makes the difference only. */
static bool is_wanted(const struct trace *t, const struct guard *g, const char *name)
{
	if (name != NULL)
		return strcmp(name, g->name) == 0;
	return !quick || g != &guard_strict || t->roamers_pm > 0;
}

int main(int argc, char **argv)
{
	static const struct guard *const guards[] = { &guard_postern, &guard_dovecot,
		&guard_fail2ban, &guard_strict };
	if (argc < 2 || argc > 3)
		return 64;
	const char *q = getenv("QUICK");
	quick = q != NULL && q[0] == '1';
	us.path = argv[1];
	log_setup("bench", LOG_ERROR, false);
	clock_fake(1000, 1700000000000000);
	metermaid_prepare();
	for (size_t g = 0; g < COUNT_OF(guards); g++) /* strict is the last: it stays */
		for (size_t i = 0; i < COUNT_OF(traces); i++)
			if (is_wanted(&traces[i], guards[g], argv[2]))
				tell(&traces[i], guards[g]);
	return 0;
}
