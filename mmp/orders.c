/* orders.c - kicks and holds (beside all steps: authenticate.c and route.c ask for holds, pipe.c ends sessions).
 *
 * Owns: the holds, and the kicks that are being spread over a time. */
#include "mmp/orders.h"

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "base/rand.h"

#include "mmp/mmp_tables.h"
#include "mmp/pipe.h"
#include "mmp/session.h"

#define kick_MAGIC 0x6d6d7035u

enum {
	HOLDS_MAX = 256,
	KICKS_MAX = 16,
	HOLD_S = 600,
	SECONDS_MAX = 7 * 24 * 3600,
	STEP_MS = 500,
	STORE_KICK_S = 30, /* a whole store at once would be a storm of logins */
	VALUE_MAX = 512
};

struct hold {
	enum pipe_key key; /* PIPE_BY_USER or PIPE_BY_STORE; value NULL: a free place */
	char *value;       /* owned */
	uint64_t until_ms;
};

/* Spread over a time: each step ends its share of those that are left. */
struct kick {
	uint32_t magic;
	struct orders *orders;
	struct pipe_match match;
	char *value; /* owned; what match borrows; NULL: a free place */
	uint64_t ends_ms;
	struct timer timer;
};

struct orders {
	struct mmp *mmp;
	struct hold holds[HOLDS_MAX];
	size_t hold_top; /* all places from here on are free: each login looks at the others */
	struct kick kicks[KICKS_MAX];
};

static uint64_t now_ms(const struct orders *o)
{
	return loop_now_ms(o->mmp->loop);
}

static void log_order(const char *order, const char *kind, const char *value, size_t sessions)
{
	log_write(&mmp_events[MMP_EV_ORDER], NULL,
	    LOG_FIELDS(LOG_STR("order", order), LOG_STR("kind", kind), LOG_STR("value", value),
		LOG_U64("sessions", sessions)));
}

static void put_row(
    struct buf *out, const char *kind, const char *value, const char *what, uint64_t n)
{
	buf_printf(out, "{\"kind\":\"%s\",\"value\":", kind);
	fmt_json_string(out, span_str(value));
	buf_printf(out, ",\"%s\":%llu}", what, (unsigned long long)n);
}

static bool put_error(struct buf *out, const char *why)
{
	buf_add_str(out, "{\"error\":");
	fmt_json_string(out, span_str(why));
	return buf_add_char(out, '}');
}

/* ---- kicks ------------------------------------------------------------------------------------ */

static void kick_end(struct kick *k)
{
	timer_clear(&k->timer);
	MEM_FREE(&k->value);
}

static void on_step(void *arg)
{
	struct kick *k = OBJ(kick, arg);
	uint64_t now = now_ms(k->orders);
	uint64_t steps = now < k->ends_ms ? (k->ends_ms - now + STEP_MS - 1) / STEP_MS + 1 : 1;
	size_t left = pipe_count(k->orders->mmp, &k->match);
	pipe_kick(k->orders->mmp, &k->match, (left + steps - 1) / steps);
	if (steps == 1)
		kick_end(k);
	else
		timer_set(&k->timer, STEP_MS / 2 + rand_below(STEP_MS));
}

static struct kick *free_kick(struct orders *o)
{
	for (size_t i = 0; i < KICKS_MAX; i++)
		if (o->kicks[i].value == NULL)
			return &o->kicks[i];
	return NULL;
}

static bool spread_kick(
    struct orders *o, const struct pipe_match *match, uint64_t seconds, struct buf *out)
{
	struct kick *k = free_kick(o);
	if (k == NULL) {
		put_error(out, "too many kicks are going on");
		return false;
	}
	k->value = mem_str(match->value);
	k->match = *match;
	k->match.value = k->value;
	k->ends_ms = now_ms(o) + seconds * 1000;
	on_step(k);
	return true;
}

/* Those that have not logged in are ended by their address only: nobody else is known of them. */
static size_t end_prelogin(struct mmp *m, const struct pipe_match *match)
{
	size_t n = 0;
	if (match->key != PIPE_BY_CLIENT)
		return 0;
	for (struct list_node *at = m->prelogin.next, *next; at != &m->prelogin; at = next) {
		next = at->next;
		struct session *s = LIST_OF(struct session, link, at);
		if (ip_in_prefix(s->from.addr, match->net) && session_is_idle(s)) {
			session_end_now(s, WHY_KICKED);
			n++;
		}
	}
	return n;
}

static bool parse_net(const char *value, struct ip_prefix *out)
{
	struct ip_addr a;
	if (ip_parse_prefix(span_str(value), out))
		return true;
	if (!ip_parse(span_str(value), &a))
		return false;
	*out = ip_network(a, ip_is_v4(a) ? 32 : 128);
	return true;
}

static bool parse_seconds(const struct control_ask *ask, uint64_t missing, uint64_t *out)
{
	*out = missing;
	return ask->n == 3 || span_u64(span_str(ask->words[3]), SECONDS_MAX, out);
}

static bool kick_key(const char *word, enum pipe_key *out)
{
	static const char *const keys[] = { "user", "client", "store", "id" };
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		if (span_eq_str(span_str(word), keys[i])) {
			*out = (enum pipe_key)i;
			return true;
		}
	return false;
}

/* Those of a store end one after the other unless something else is said. */
static bool kick_seconds(const struct control_ask *ask, enum pipe_key key, uint64_t *out)
{
	return parse_seconds(ask, key == PIPE_BY_STORE ? STORE_KICK_S : 0, out);
}

static bool cmd_kick(struct orders *o, const struct control_ask *ask, struct buf *out)
{
	struct pipe_match match = { .value = ask->words[2] };
	uint64_t seconds;
	if (!kick_key(ask->words[1], &match.key))
		return put_error(out, "kick what? user, client, store or id");
	if (match.key == PIPE_BY_CLIENT && !parse_net(match.value, &match.net))
		return put_error(out, "not an address or a network");
	if (!kick_seconds(ask, match.key, &seconds))
		return put_error(out, "not a number of seconds");
	size_t n = pipe_count(o->mmp, &match) + end_prelogin(o->mmp, &match);
	log_order("kick", ask->words[1], match.value, n);
	if (seconds > 0 && !spread_kick(o, &match, seconds, out))
		return true;
	if (seconds == 0)
		pipe_kick(o->mmp, &match, SIZE_MAX);
	if (n == 0) /* another worker may have them */
		return buf_add_str(out, "[]");
	put_row(out, ask->words[1], match.value, "sessions", n);
	return true;
}

/* ---- holds ------------------------------------------------------------------------------------ */

static bool is_live(const struct orders *o, const struct hold *h)
{
	return h->value != NULL && now_ms(o) < h->until_ms;
}

/* HOLDS_MAX: there is none, live or over. */
static size_t find_hold(const struct orders *o, enum pipe_key key, const char *value)
{
	for (size_t i = 0; i < o->hold_top; i++)
		if (o->holds[i].value != NULL && o->holds[i].key == key &&
		    span_ieq_str(span_str(value), o->holds[i].value))
			return i;
	return HOLDS_MAX;
}

static struct hold *free_hold(struct orders *o)
{
	for (size_t i = 0; i < HOLDS_MAX; i++)
		if (!is_live(o, &o->holds[i])) {
			MEM_FREE(&o->holds[i].value);
			o->hold_top = i < o->hold_top ? o->hold_top : i + 1;
			return &o->holds[i];
		}
	return NULL;
}

static bool holds(const struct orders *o, enum pipe_key key, const char *value)
{
	size_t i = find_hold(o, key, value);
	return i < HOLDS_MAX && is_live(o, &o->holds[i]);
}

bool orders_hold_user(const struct orders *o, const char *user)
{
	return holds(o, PIPE_BY_USER, user);
}

bool orders_hold_store(const struct orders *o, const char *store)
{
	return holds(o, PIPE_BY_STORE, store);
}

static bool hold_key(const char *word, enum pipe_key *out)
{
	*out = span_eq_str(span_str(word), "store") ? PIPE_BY_STORE : PIPE_BY_USER;
	return *out == PIPE_BY_STORE || span_eq_str(span_str(word), "user");
}

static bool held_what(struct buf *out)
{
	return put_error(out, "hold what? user or store");
}

static bool cmd_hold(struct orders *o, const struct control_ask *ask, struct buf *out)
{
	enum pipe_key key;
	uint64_t seconds;
	const char *value = ask->words[2];
	if (!hold_key(ask->words[1], &key))
		return held_what(out);
	if (!parse_seconds(ask, HOLD_S, &seconds))
		return put_error(out, "not a number of seconds");
	size_t known = find_hold(o, key, value);
	struct hold *h = known < HOLDS_MAX ? &o->holds[known] : free_hold(o);
	if (h == NULL)
		return put_error(out, "too many holds");
	if (h->value == NULL)
		h->value = mem_str(value);
	h->key = key;
	h->until_ms = now_ms(o) + seconds * 1000;
	log_order("hold", ask->words[1], value, 0);
	put_row(out, ask->words[1], value, "left_s", seconds);
	return true;
}

/* What the directory is believed to say of the user may be older than the move. */
static bool cmd_release(struct orders *o, const struct control_ask *ask, struct buf *out)
{
	enum pipe_key key;
	if (!hold_key(ask->words[1], &key))
		return held_what(out);
	size_t known = find_hold(o, key, ask->words[2]);
	if (key == PIPE_BY_USER)
		directory_forget(o->mmp->directory, span_str(ask->words[2]));
	log_order("release", ask->words[1], ask->words[2], 0);
	if (known == HOLDS_MAX)
		return buf_add_str(out, "[]");
	MEM_FREE(&o->holds[known].value);
	put_row(out, ask->words[1], ask->words[2], "left_s", 0);
	return true;
}

static bool cmd_holds(struct orders *o, struct buf *out)
{
	bool first = true;
	buf_add_char(out, '[');
	for (size_t i = 0; i < HOLDS_MAX; i++) {
		const struct hold *h = &o->holds[i];
		if (!is_live(o, h))
			continue;
		if (!first)
			buf_add_char(out, ',');
		first = false;
		put_row(out, h->key == PIPE_BY_STORE ? "store" : "user", h->value, "left_s",
		    (h->until_ms - now_ms(o) + 999) / 1000);
	}
	return buf_add_char(out, ']');
}

/* ---- the table's functions -------------------------------------------------------------------- */

static bool is_whole(const struct control_ask *ask)
{
	return ask->n >= 3 && ask->n <= 4 && span_str(ask->words[2]).n <= VALUE_MAX;
}

bool orders_stands(const struct control_ask *ask, struct standing_order *out)
{
	enum pipe_key key;
	if (!is_whole(ask))
		return false;
	*out = (struct standing_order){ ask->words[0], ask->words[1], ask->words[2], 0 };
	struct span word = span_str(out->word);
	if (span_eq_str(word, "kick"))
		return kick_key(out->kind, &key) && kick_seconds(ask, key, &out->seconds) &&
		       out->seconds > 0;
	if (span_eq_str(word, "hold"))
		return hold_key(out->kind, &key) && parse_seconds(ask, HOLD_S, &out->seconds);
	out->word = "hold";
	return span_eq_str(word, "release") && hold_key(out->kind, &key);
}

bool orders_control(struct orders *o, const struct control_ask *ask, struct buf *out)
{
	static const struct {
		const char *word;
		bool (*fn)(struct orders *o, const struct control_ask *ask, struct buf *out);
	} rows[] = { { "kick", cmd_kick }, { "hold", cmd_hold }, { "release", cmd_release } };
	if (ask->n == 1 && span_eq_str(span_str(ask->words[0]), "holds"))
		return cmd_holds(o, out);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (ask->n == 0 || !span_eq_str(span_str(ask->words[0]), rows[i].word))
			continue;
		if (!is_whole(ask))
			return put_error(out, "expected: KIND VALUE [SECONDS]");
		return rows[i].fn(o, ask, out);
	}
	return false;
}

struct orders *orders_new(struct mmp *m)
{
	struct orders *o = MEM_NEW(struct orders);
	o->mmp = m;
	for (size_t i = 0; i < KICKS_MAX; i++) {
		o->kicks[i].magic = kick_MAGIC;
		o->kicks[i].orders = o;
		timer_init(&o->kicks[i].timer, m->loop, on_step, &o->kicks[i]);
	}
	return o;
}

void orders_free(struct orders **o)
{
	if (*o == NULL)
		return;
	for (size_t i = 0; i < KICKS_MAX; i++)
		if ((*o)->kicks[i].value != NULL)
			kick_end(&(*o)->kicks[i]);
	for (size_t i = 0; i < HOLDS_MAX; i++)
		mem_free((*o)->holds[i].value);
	MEM_FREE(o);
}
