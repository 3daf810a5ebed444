/* quota.c - GETQUOTA, GETQUOTAROOT (RFC 9208): a user has one root, "", for all mailboxes. Before: input.c. */
#include "base/check.h"

#include "store-backend/imap/session.h"

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

/* A user who is not there yet has no limits. */
static enum verdict tell_quota(struct imap_session *s, struct index_view *v)
{
	struct index_user u = { 0 };
	(void)index_user(v, span_str(s->user), &u);
	say_quota(s, &u);
	return imap_finish_done(s);
}

enum verdict cmd_getquota(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	struct span root = imap_read_astring(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (root.n > 0)
		return imap_finish(s, "NO", "[NONEXISTENT] No such quota root");
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum verdict next = tell_quota(s, v);
	index_view_end(&v);
	return next;
}

enum verdict cmd_getquotaroot(struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	bool there = index_mailbox_find(v, span_str(s->user), buf_span(&s->cmd.name), &m);
	if (there) {
		imap_say(s, "* QUOTAROOT ");
		imap_put_name(s, m.name);
		imap_say(s, " \"\"\r\n");
	}
	enum verdict next = there ? tell_quota(s, v) : imap_finish_result(s, OPR_NO_MAILBOX);
	index_view_end(&v);
	return next;
}
