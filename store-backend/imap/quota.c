/* quota.c - GETQUOTA, GETQUOTAROOT (RFC 9208): a user has one root, "", for all mailboxes, and one for each rule
 * `quota NAME { }` that limits a kind of messages in all of them, by its NAME. Before: input.c. */
#include "base/check.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"
#include "store-backend/quota.h"

struct root {
	struct span name;
	struct type_use used, limit; /* limits: 0 is none */
};

static bool is_limited(const struct root *r)
{
	return r->limit.bytes > 0 || r->limit.messages > 0;
}

/* Resources without a limit are not told. STORAGE is in KiB, begun ones counted. */
static void say_quota(struct imap_session *s, const struct root *r)
{
	const char *space = "";
	imap_say(s, "* QUOTA ");
	imap_put_astring(&s->text, r->name);
	imap_say(s, " (");
	if (r->limit.bytes > 0) {
		imap_say(s, "STORAGE %llu %llu",
		    (unsigned long long)((r->used.bytes + 1023) / 1024),
		    (unsigned long long)(r->limit.bytes / 1024));
		space = " ";
	}
	if (r->limit.messages > 0)
		imap_say(s, "%sMESSAGE %llu %llu", space, (unsigned long long)r->used.messages,
		    (unsigned long long)r->limit.messages);
	imap_say(s, ")\r\n");
}

/* ---- the roots of a user ----------------------------------------------------------------------------------- */

/* A user who is not there yet has no limits, and without limits there is no root. */
static struct root own_root(const struct imap_session *s, struct index_view *v)
{
	struct index_user u = { 0 };
	(void)index_user(v, span_str(s->user), &u);
	return (
	    struct root){ SPAN_NONE, { u.bytes, u.messages }, { u.quota_bytes, u.quota_messages } };
}

static struct root root_of_rule(const struct store_quota_conf *q, const struct type_uses *used)
{
	return (struct root){ span_str(q->head.title), used->of[q->type],
		{ q->bytes, (uint64_t)q->messages } };
}

/* False: not a root of this user. */
static bool find_root(
    struct imap_session *s, struct index_view *v, struct span name, struct root *out)
{
	struct type_uses mailbox, user;
	struct index_mailbox inbox;
	if (name.n == 0)
		*out = own_root(s, v);
	if (name.n == 0)
		return is_limited(out);
	if (!index_mailbox_find(v, span_str(s->user), SPAN("INBOX"), &inbox))
		return false;
	for (size_t i = 0; i < s->opts->quota_n; i++) {
		const struct store_quota_conf *q = s->opts->quota[i];
		if (!span_eq_str(name, q->head.title) || !quota_is_root(q, inbox.user))
			continue;
		index_types(v, &inbox, &mailbox, &user);
		*out = root_of_rule(q, &user);
		return true;
	}
	return false;
}

enum verdict cmd_getquota(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct root found;
	imap_read_sp(c);
	struct span name = imap_read_astring(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	bool there = find_root(s, v, name, &found);
	index_view_end(&v);
	if (!there)
		return imap_finish(s, "NO", "[NONEXISTENT] No such quota root");
	say_quota(s, &found);
	return imap_finish_done(s);
}

/* ---- the roots of a mailbox -------------------------------------------------------------------------------- */

static void say_names(struct imap_session *s, const struct root *own)
{
	if (is_limited(own))
		imap_say(s, " \"\"");
	for (size_t i = 0; i < s->opts->quota_n; i++) {
		if (!quota_is_root(s->opts->quota[i], span_str(s->user)))
			continue;
		imap_say(s, " ");
		imap_put_astring(&s->text, span_str(s->opts->quota[i]->head.title));
	}
	imap_say(s, "\r\n");
}

static void say_all(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m, struct root *own)
{
	struct type_uses mailbox, user;
	if (is_limited(own))
		say_quota(s, own);
	index_types(v, m, &mailbox, &user);
	for (size_t i = 0; i < s->opts->quota_n; i++) {
		struct root r = root_of_rule(s->opts->quota[i], &user);
		if (quota_is_root(s->opts->quota[i], m->user))
			say_quota(s, &r);
	}
}

/* How full others are is not told. */
static void say_roots(struct imap_session *s, struct index_view *v, const struct index_mailbox *m)
{
	struct root own = own_root(s, v);
	imap_say(s, "* QUOTAROOT ");
	imap_put_name(s, buf_span(&s->cmd.name));
	if (!span_eq_str(m->user, s->user)) {
		imap_say(s, "\r\n");
		return;
	}
	say_names(s, &own);
	say_all(s, v, m, &own);
}

/* A mailbox of one's own need not be there: the question is what would count for it (RFC 9208 section 4.1.2). */
static enum operation_result find_or_imagine(
    struct imap_session *s, struct index_view *v, struct index_mailbox *out)
{
	struct shared_name n = shared_parse(s, buf_span(&s->cmd.name));
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_READ, out);
	if (r != OPR_NO_MAILBOX || !span_eq_str(n.owner, s->user) || !operation_name_ok(n.name))
		return r;
	*out = (struct index_mailbox){ .user = n.owner, .name = n.name };
	return OPR_OK;
}

enum verdict cmd_getquotaroot(struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = find_or_imagine(s, v, &m);
	if (r == OPR_OK)
		say_roots(s, v, &m);
	index_view_end(&v);
	return r == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, r);
}
