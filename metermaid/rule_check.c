/* rule_check.c - mistakes of rules that no single row can see. Before: lib/conf; owns nothing. */
#include <string.h>

#include "metermaid/rule.h"

/* What is known at each moment. */
static const unsigned known_at[METER_MOMENTS] = {
	[METER_CONNECT] = 1u << PART_LISTENER,
	[METER_TLS] = 1u << PART_LISTENER,
	[METER_AUTH] = 1u << PART_LISTENER | 1u << PART_HELO | 1u << PART_USER | 1u << PART_DOMAIN,
	[METER_MAIL] = ~0u & ~(1u << PART_RECIPIENT),
	[METER_RCPT] = ~0u,
	[METER_MESSAGE] = ~0u & ~(1u << PART_RECIPIENT),
	[METER_LOGIN] = 1u << PART_LISTENER | 1u << PART_HELO | 1u << PART_USER | 1u << PART_DOMAIN,
	[METER_SESSION] =
	    1u << PART_LISTENER | 1u << PART_HELO | 1u << PART_USER | 1u << PART_DOMAIN,
};

static const char *check_key(const struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	for (unsigned i = 0; i < PARTS; i++)
		if ((r->parts & 1u << i) != 0 && (known_at[c->on] & 1u << i) == 0) {
			buf_printf(
			    why, "the %s is not known on %s", rule_parts[i], rule_moments[c->on]);
			return buf_cstr(why);
		}
	return NULL;
}

static const char *check_action(const struct rule *r, int on)
{
	if (r->action == ACT_DELAY && (on == METER_TLS || on == METER_LOGIN || on == METER_SESSION))
		return "there is nothing to delay at this moment";
	if (r->action == ACT_ALLOW && r->kind != RULE_LIST)
		return "action allow is for kind list";
	if (r->action == ACT_DELAY && (r->kind == RULE_GREYLIST || r->kind == RULE_LIST))
		return "this kind cannot delay";
	return NULL;
}

static bool is_mail(int on)
{
	return on == METER_MAIL || on == METER_RCPT || on == METER_MESSAGE;
}

static const char *check_moment(const struct rule *r, const struct meter_rule_conf *c)
{
	if (c->spare_known > 0 && c->on != METER_AUTH)
		return "spare_known is for auth";
	if (r->cost != COST_ONE && c->on != METER_MESSAGE)
		return "recipients and bytes are known only on message";
	if (r->kind == RULE_CONCURRENCY && c->on != METER_CONNECT && c->on != METER_SESSION)
		return "kind concurrency is asked on connect or session: what it counts ends with "
		       "it";
	if (r->kind == RULE_CONCURRENCY && r->cost != COST_ONE)
		return "kind concurrency counts one for each";
	if (r->kind == RULE_GREYLIST && !is_mail(c->on))
		return "kind greylist is asked on mail, rcpt or message";
	if (r->kind == RULE_GREYLIST && !r->by_client)
		return "the key of kind greylist must have client";
	return NULL;
}

static bool blocks_all(const struct rule *r, const struct meter_rule_conf *c)
{
	if (r->action == ACT_ALLOW || r->action == ACT_TAG || r->action == ACT_SHADOW)
		return false;
	for (size_t i = 0; i < c->networks.n; i++)
		if (c->networks.v[i].bits == 0 ||
		    (ip_is_v4(c->networks.v[i].addr) && c->networks.v[i].bits == 96))
			return true;
	return r->never;
}

static const char *check_grow(const struct rule *r, const struct meter_rule_conf *c)
{
	if (c->grow == 0)
		return NULL;
	if (r->kind == RULE_GREYLIST || r->kind == RULE_LIST)
		return "grow is for kinds with a limit";
	if (!r->by_client || (r->parts & (1u << PART_USER | 1u << PART_DOMAIN)) != 0)
		return "grow is for keys with client and without user and domain: it counts the "
		       "users of a network";
	return NULL;
}

static const char *check_list(const struct rule *r, const struct meter_rule_conf *c)
{
	if (r->kind != RULE_LIST && (c->networks.n > 0 || c->users.n > 0))
		return "networks and users are for kind list";
	if (r->kind == RULE_LIST && c->ban_for > 0)
		return "a list bans nobody: it is the list";
	if (c->users.n > 0 && (known_at[c->on] & 1u << PART_USER) == 0)
		return "users are not known at this moment";
	if (strcmp(c->head.title, "ban") == 0 && r->kind != RULE_LIST)
		return "the name ban is that of a list";
	return NULL;
}

static const char *check_rule(struct rule *r, const struct meter_rule_conf *c, struct buf *why)
{
	const char *wrong = rule_compile(r, c, why);
	if (wrong == NULL)
		wrong = check_key(r, c, why);
	if (wrong == NULL)
		wrong = check_action(r, c->on);
	if (wrong == NULL)
		wrong = check_moment(r, c);
	if (wrong == NULL)
		wrong = check_list(r, c);
	if (wrong == NULL)
		wrong = check_grow(r, c);
	if (wrong == NULL && blocks_all(r, c) && !c->force)
		wrong = "it can block everyone; if that is meant, add force yes";
	return wrong;
}

static const struct meter_rule_conf *find(const struct metermaid_conf *m, const char *name)
{
	for (size_t i = 0; i < m->rule_n; i++)
		if (strcmp(m->rule[i]->head.title, name) == 0)
			return m->rule[i];
	return NULL;
}

static const char *check_names(const struct metermaid_conf *m, const struct meter_rule_conf *c)
{
	if (c->head.title[0] == '\0')
		return "a rule needs a name";
	if (strpbrk(c->head.title, "|{}\"\\") != NULL)
		return "a name has none of | { } \" \\";
	if (c->ban_list == NULL || strcmp(c->ban_list, "ban") == 0)
		return NULL;
	const struct meter_rule_conf *list = find(m, c->ban_list);
	return list == NULL || list->kind != RULE_LIST ? "ban_list names no rule of kind list"
						       : NULL;
}

static const char *check_servers(const struct metermaid_conf *m)
{
	bool sentinel = m->redis_sentinel.n > 0;
	if (sentinel && m->redis.n > 0)
		return "redis and redis_sentinel exclude each other: the Sentinels name the server";
	if (sentinel && m->redis_master == NULL)
		return "redis_sentinel needs redis_master, the name of the master there";
	if (!sentinel && m->redis_master != NULL)
		return "redis_master is for redis_sentinel";
	for (size_t i = 0; i < m->redis.n; i++)
		if (m->redis.n > 1 && m->redis.v[i].host[0] == '/')
			return "a unix socket is the only server, or none of them";
	return NULL;
}

void metermaid_check(const struct conf *c, struct conf_diag *d)
{
	const struct metermaid_conf *m = conf_section(c, &metermaid_block);
	const char *servers = check_servers(m);
	struct rule r;
	if (servers != NULL)
		conf_error(d, m->head.pos, "metermaid: %s", servers);
	for (size_t i = 0; i < m->rule_n; i++) {
		struct buf why = BUF_INIT(512);
		const char *wrong = check_names(m, m->rule[i]);
		if (wrong == NULL)
			wrong = check_rule(&r, m->rule[i], &why);
		if (wrong != NULL)
			conf_error(
			    d, m->rule[i]->head.pos, "rule %s: %s", m->rule[i]->head.title, wrong);
		buf_end(&why);
	}
}
