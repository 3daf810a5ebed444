/* control.c - what an operator asks over the control socket. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "metermaid/meter_internal.h"

/* "60/1m+1000/1d, 600/1m" */
static void put_limits(const struct rule *r, struct buf *out)
{
	for (size_t i = 0; i < r->tier_n; i++)
		for (size_t w = 0; w < r->tiers[i].windows; w++) {
			buf_add_str(out, w > 0 ? "+" : i > 0 ? ", " : "");
			buf_printf(out, "%" PRIu64, r->tiers[i].count[w]);
			if (r->kind == RULE_CONCURRENCY)
				continue;
			buf_add_char(out, '/');
			fmt_duration(out, r->tiers[i].per_ms[w]);
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
	if (r->kind != RULE_LIST && r->kind != RULE_GREYLIST)
		put_limits(r, out);
	buf_printf(out, "\",\"action\":\"%s\",\"asked\":%" PRIu64 ",\"refused\":%" PRIu64 "}",
	    rule_actions[r->action], r->asked, r->over);
}

static bool cmd_rules(struct metermaid *m, const char *const *more, size_t n, struct buf *out)
{
	buf_add_char(out, '[');
	for (size_t i = 0; i < m->rules->n; i++) {
		buf_add_str(out, i > 0 ? "," : "");
		put_rule(&m->rules->v[i], out);
	}
	buf_add_char(out, ']');
	return true;
}

static bool cmd_top(struct metermaid *m, const char *const *more, size_t n, struct buf *out)
{
	buf_add_char(out, '[');
	observed_put(m->observed, n > 0 ? more[0] : NULL, out);
	buf_add_char(out, ']');
	return true;
}

static const struct {
	const char *name;
	bool (*fn)(struct metermaid *m, const char *const *more, size_t n, struct buf *out);
} commands[] = {
	{ "rules", cmd_rules },
	{ "top", cmd_top },
};

bool metermaid_control(struct metermaid *m, const char *const *words, size_t n, struct buf *out)
{
	if (n < 2 || strcmp(words[0], "meter") != 0)
		return false;
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(words[1], commands[i].name) == 0)
			return commands[i].fn(m, words + 2, n - 2, out);
	return false;
}
