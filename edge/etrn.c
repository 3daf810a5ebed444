/* etrn.c - ETRN (before: greet.c; the queue process's part: queue_kick.c). Owns nothing. */
#include "edge/etrn.h"

#include "base/check.h"
#include "proto/smtp_path.h"

enum { TEXT_MAX = 512 };

static bool may_ask_as(const struct session *s)
{
	const struct conf_strings *users = &s->listener->etrn_users;
	for (size_t i = 0; i < users->n && s->user != NULL; i++)
		if (strcmp(users->v[i], "*") == 0 || span_ieq_str(span_str(users->v[i]), s->user))
			return true;
	return false;
}

bool etrn_offered(const struct session *s)
{
	return ip_in_set(s->from.addr, &s->listener->etrn_from) || may_ask_as(s);
}

/* "example.org", ".example.org" for all below it; none: any. */
static bool is_node_of_ours(const struct session *s, struct span domain)
{
	const struct conf_strings *nodes = &s->listener->etrn_nodes;
	for (size_t i = 0; i < nodes->n; i++) {
		struct span n = span_str(nodes->v[i]);
		if (span_ieq(n, domain) ||
		    (span_starts(n, SPAN(".")) && domain.n > n.n && span_iends(domain, n)))
			return true;
	}
	return nodes->n == 0;
}

static enum verdict answer(struct session *s, struct span node, const struct etrn_answer *a)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	unsigned code = a->recipients > 0 ? 253 : 251;
	if (a->err) {
		buf_printf(&text, "unable to queue messages for node %.*s now", SPAN_ARG(node));
	} else if (a->more) {
		code = 252;
		buf_printf(&text, "OK, pending messages for node %.*s started", SPAN_ARG(node));
	} else if (code == 253) {
		buf_printf(&text, "OK, %zu pending messages for node %.*s started", a->recipients,
		    SPAN_ARG(node));
	} else {
		buf_printf(&text, "OK, no messages waiting for node %.*s", SPAN_ARG(node));
	}
	enum verdict v = a->err ? session_refuse(s, 458, "4.3.0", buf_cstr(&text))
				: session_say(s, code, "2.0.0", buf_cstr(&text));
	buf_end(&text);
	return v;
}

static void on_kicked(void *arg, const struct etrn_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_notef(
	    s, "etrn", "%.*s: %zu%s", SPAN_ARG(a->node), a->recipients, a->err ? " (not now)" : "");
	session_enter(s, ST_COMMAND);
	session_step(s, answer(s, a->node, a));
}

static enum verdict not_allowed(struct session *s, struct span node, const char *why)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	buf_printf(&text, "node %.*s not allowed: %s", SPAN_ARG(node), why);
	enum verdict v = session_refuse(s, 459, "4.7.1", buf_cstr(&text));
	buf_end(&text);
	return v;
}

enum verdict etrn_command(struct session *s, const struct smtp_cmd *cmd)
{
	struct span node = cmd->argument;
	struct span domain = span_starts(node, SPAN("@")) ? span_from(node, 1) : node;
	if (span_starts(node, SPAN("#")))
		return session_refuse(s, 458, "4.3.0", "there are no queues with names here");
	if (domain.n > ETRN_NODE_MAX - 1 || !smtp_domain_ok(domain, true) ||
	    span_starts(domain, SPAN("[")))
		return session_refuse(s, 501, "5.5.4", "ETRN needs a domain");
	if (!etrn_offered(s))
		return not_allowed(s, node, "who are you to ask for it?");
	if (!is_node_of_ours(s, domain))
		return not_allowed(s, node, "its mail does not wait here");
	session_enter(s, ST_ETRN);
	s->ask = committer_kick(s->edge->committer, node, on_kicked, s);
	return V_WAIT;
}

static void check_nodes(const struct edge_listener_conf *l, struct conf_diag *d)
{
	for (size_t i = 0; i < l->etrn_nodes.n; i++) {
		struct span n = span_str(l->etrn_nodes.v[i]);
		if (!smtp_domain_ok(span_starts(n, SPAN(".")) ? span_from(n, 1) : n, true))
			conf_error(d, l->head.pos,
			    "etrn_nodes: \"%s\" is no domain such as example.org or .example.org",
			    l->etrn_nodes.v[i]);
	}
}

void etrn_check(const struct edge_conf *c, struct conf_diag *d)
{
	for (size_t i = 0; i < c->listener_n; i++) {
		const struct edge_listener_conf *l = c->listener[i];
		check_nodes(l, d);
		if (l->etrn_nodes.n > 0 && l->etrn_from.n == 0 && l->etrn_users.n == 0)
			conf_error(d, l->head.pos,
			    "etrn_nodes needs etrn_from or etrn_users: who may ask for them?");
	}
}
