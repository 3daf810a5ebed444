/* local.c - rules that need no state but this host's: lists, bans, limits of 0. */
#include "metermaid/meter_internal.h"

enum { NEVER_RETRY_MS = 60000 };

void local_act(const struct rule *r, struct meter_answer *out)
{
	switch (r->action) {
	case ACT_TAG:
		out->tag = r->tag;
		return;
	case ACT_ALLOW:
	case ACT_SHADOW:
		return;
	case ACT_DELAY:
		out->action = METER_DELAY;
		break;
	case ACT_DEFER:
		out->action = METER_DEFER;
		break;
	case ACT_REFUSE:
		out->action = METER_REFUSE;
		break;
	case ACT_DISCONNECT:
		out->action = METER_DEFER;
		out->disconnect = true;
		break;
	}
	out->rule = r->name;
}

static bool is_user_of(const struct conf_strings *users, struct span user)
{
	for (size_t i = 0; user.n > 0 && i < users->n; i++)
		if (span_ieq_str(user, users->v[i]))
			return true;
	return false;
}

static bool is_listed(
    const struct local_world *w, const struct rule *r, const struct meter_facts *f)
{
	const struct meter_rule_conf *c = r->conf;
	if (c != NULL && (ip_in_set(f->client, &c->networks) || is_user_of(&c->users, f->user)))
		return true;
	return w->is_banned(w->arg, r, f);
}

static bool is_met(const struct local_world *w, const struct rule *r, const struct meter_facts *f)
{
	return r->kind == RULE_LIST ? is_listed(w, r, f) : r->never;
}

/* In the order of the file; the first that allows or refuses decides. */
enum local local_judge(const struct local_world *w, enum meter_moment moment,
    const struct meter_facts *f, struct meter_answer *out)
{
	enum local said = LOCAL_NOTHING;
	*out = (struct meter_answer){ .action = METER_ALLOW, .rule = "" };
	for (size_t i = 0; i < w->rules->n; i++) {
		struct rule *r = &w->rules->v[i];
		if ((r->kind != RULE_LIST && !r->never) || !rule_applies(r, moment, f))
			continue;
		if (!w->uncounted)
			rule_count(r, false);
		if (!is_met(w, r, f))
			continue;
		if (!w->uncounted)
			rule_count(r, true);
		local_act(r, out);
		if (r->action == ACT_ALLOW || out->action != METER_ALLOW) {
			out->retry_ms = out->action == METER_ALLOW ? 0 : NEVER_RETRY_MS;
			return LOCAL_DECIDED;
		}
		said = LOCAL_TAGGED;
	}
	return said;
}
