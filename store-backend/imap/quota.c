/* quota.c - GETQUOTA, GETQUOTAROOT (RFC 9208): a user has one root, "", for all mailboxes. Before: input.c. */
#include "base/check.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* Resources without a limit are not told. STORAGE is in KiB, begun ones counted. */
static void say_quota(struct imap_session *s, const struct index_user *u)
{
	const char *space = "";
	imap_say(s, "* QUOTA \"\" (");
	if (u->quota_bytes > 0) {
		imap_say(s, "STORAGE %llu %llu", (unsigned long long)((u->bytes + 1023) / 1024),
		    (unsigned long long)(u->quota_bytes / 1024));
		space = " ";
	}
	if (u->quota_messages > 0)
		imap_say(s, "%sMESSAGE %llu %llu", space, (unsigned long long)u->messages,
		    (unsigned long long)u->quota_messages);
	imap_say(s, ")\r\n");
}

static bool is_limited(const struct index_user *u)
{
	return u->quota_bytes > 0 || u->quota_messages > 0;
}

/* A user who is not there yet has no limits, and without limits there is no root. */
static struct index_user read_user(const struct imap_session *s, struct index_view *v)
{
	struct index_user u = { 0 };
	(void)index_user(v, span_str(s->user), &u);
	return u;
}

enum verdict cmd_getquota(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	struct span root = imap_read_astring(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	struct index_user u = read_user(s, v);
	index_view_end(&v);
	if (root.n > 0 || !is_limited(&u))
		return imap_finish(s, "NO", "[NONEXISTENT] No such quota root");
	say_quota(s, &u);
	return imap_finish_done(s);
}

static void say_root(struct imap_session *s, struct span mailbox, const struct index_user *u)
{
	imap_say(s, "* QUOTAROOT ");
	imap_put_name(s, mailbox);
	imap_say(s, is_limited(u) ? " \"\"\r\n" : "\r\n");
	if (is_limited(u))
		say_quota(s, u);
}

enum verdict cmd_getquotaroot(struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_READ, &m);
	struct index_user u = { 0 };
	if (r == OPR_OK && span_eq_str(m.user, s->user))
		u = read_user(s, v); /* how full others are is not told */
	if (r == OPR_OK)
		say_root(s, buf_span(&s->cmd.name), &u);
	index_view_end(&v);
	return r == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, r);
}
