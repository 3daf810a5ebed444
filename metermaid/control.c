/* control.c - what an operator asks over the control socket. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "metermaid/meter_internal.h"

enum { BAN_MS = 3600 * 1000 }; /* when nothing else is said */
static const uint64_t BAN_MAX_MS = UINT64_C(366) * 86400 * 1000;

struct control {
	struct metermaid *m;
	const char *const *more; /* words behind the command */
	size_t n;
	struct look_to to;
};

/* "60/1m+1000/1d, 600/1m" */
static void put_limits(const struct rule *r, struct buf *out)
{
	for (size_t i = 0; i < r->tier_n; i++)
		for (size_t w = 0; w < r->tiers[i].windows; w++) {
			buf_add_str(out, w > 0 ? "+" : i > 0 ? ", " : "");
			rule_put_limit(r, &r->tiers[i], (struct rule_limit){ w, 0 }, out);
		}
}

static void put_moments(const struct rule *r, struct buf *out)
{
	const char *sep = "";
	for (unsigned i = 0; i < METER_MOMENTS; i++)
		if ((r->moments & 1u << i) != 0) {
			buf_printf(out, "%s%s", sep, rule_moments[i]);
			sep = ",";
		}
}

static void put_rule(const struct rule *r, struct buf *out)
{
	buf_add_str(out, "{\"rule\":");
	fmt_json_string(out, span_str(r->name));
	buf_add_str(out, ",\"on\":\"");
	put_moments(r, out);
	buf_printf(out, "\",\"kind\":\"%s\",\"rate\":\"", rule_kinds[r->kind]);
	put_limits(r, out);
	buf_printf(out, "\",\"action\":\"%s\",\"asked\":%" PRIu64 ",\"refused\":%" PRIu64 "}",
	    rule_actions[r->action], r->asked, r->over);
}

static bool cmd_rules(const struct control *c)
{
	struct buf *out = c->to.out;
	const struct metermaid *m = c->m;
	buf_add_char(out, '[');
	for (size_t i = 0; i < m->rules->n; i++) {
		buf_add_str(out, i > 0 ? "," : "");
		put_rule(&m->rules->v[i], out);
	}
	buf_add_char(out, ']');
	return true;
}

static bool cmd_top(const struct control *c)
{
	struct buf *out = c->to.out;
	buf_add_char(out, '[');
	observed_put(c->m->observed, c->n > 0 ? c->more[0] : NULL, out);
	buf_add_char(out, ']');
	return true;
}

/* ---- lists ---- */

struct ban_words {
	const char *key, *list;
	uint64_t ms;
};

static bool parse_ban(const char *const *more, size_t n, struct ban_words *out)
{
	*out = (struct ban_words){ .key = n > 0 ? more[0] : NULL, .list = "ban", .ms = BAN_MS };
	for (size_t i = 1; i + 1 < n; i += 2) {
		if (strcmp(more[i], "--list") == 0)
			out->list = more[i + 1];
		else if (strcmp(more[i], "--for") != 0 ||
			 !conf_duration(span_str(more[i + 1]), &out->ms) || out->ms == 0 ||
			 out->ms > BAN_MAX_MS)
			return false;
	}
	return n % 2 == 1;
}

/* "192.0.2.5/24" is neither a network nor a user. */
static const char *wrong_ban(struct metermaid *m, const struct ban_words *b)
{
	struct ip_prefix p;
	struct ip_addr a;
	struct span key = span_str(b->key), rest = key, address = span_cut(&rest, '/');
	const struct rule *r = rules_find(m->rules, b->list);
	if (r == NULL || r->kind != RULE_LIST)
		return "no such list";
	if (rest.p != NULL && ip_parse(address, &a) && !ip_parse_prefix(key, &p))
		return "not a network: it has host bits";
	return NULL;
}

static void put_ban(const struct ban_words *b, const char *said, struct buf *out)
{
	buf_add_str(out, "[{\"rule\":");
	fmt_json_string(out, span_str(b->list));
	buf_add_str(out, ",\"key\":");
	fmt_json_string(out, span_str(b->key));
	buf_printf(out, ",\"state\":\"%s\"}]", said);
}

static bool change_ban(const struct control *c, bool on)
{
	struct ban_words b;
	char lower[BAN_TEXT_MAX];
	if (!parse_ban(c->more, c->n, &b) || strlen(b.key) > sizeof lower)
		return false;
	const char *said = wrong_ban(c->m, &b);
	struct span key = span_str(b.key);
	span_lower_to(lower, key);
	if (said == NULL && bans_sync_put(c->m, b.list, span_of(lower, key.n), on ? b.ms : 0))
		said = on ? "banned" : "off the list";
	put_ban(&b, said != NULL ? said : on ? "too long" : "was not on the list", c->to.out);
	return true;
}

static bool cmd_ban(const struct control *c)
{
	return change_ban(c, true);
}

static bool cmd_unban(const struct control *c)
{
	return change_ban(c, false);
}

static bool cmd_bans(const struct control *c)
{
	buf_add_char(c->to.out, '[');
	bans_put_json(c->m->bans, clock_mono_ms(), c->to.out);
	buf_add_char(c->to.out, ']');
	return true;
}

/* ---- keys ---- */

static bool cmd_show(const struct control *c)
{
	if (c->n > 0)
		look_start(c->m, LOOK_SHOW, c->more, c->n, c->to);
	return c->n > 0;
}

static bool cmd_reset(const struct control *c)
{
	if (c->n > 0)
		look_start(c->m, LOOK_RESET, c->more, c->n, c->to);
	return c->n > 0;
}

static bool cmd_watch(const struct control *c)
{
	return c->n > 0 && witness_watch(c->m->witness, c->more, c->n, c->to.out);
}

static const struct {
	const char *name;
	bool (*fn)(const struct control *c);
} commands[] = {
	{ "rules", cmd_rules },
	{ "top", cmd_top },
	{ "show", cmd_show },
	{ "reset", cmd_reset },
	{ "ban", cmd_ban },
	{ "unban", cmd_unban },
	{ "bans", cmd_bans },
	{ "watch", cmd_watch },
};

bool metermaid_control(struct metermaid *m, const char *const *words, size_t n,
    const struct meter_late *late, struct buf *out)
{
	if (n < 2 || strcmp(words[0], "meter") != 0)
		return false;
	struct control c = { m, words + 2, n - 2, { late, out } };
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(words[1], commands[i].name) == 0)
			return commands[i].fn(&c);
	return false;
}
