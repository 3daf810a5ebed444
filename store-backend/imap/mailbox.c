/* mailbox.c - CLOSE, UNSELECT, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE.
 *
 * Before: input.c. After: operation.c for whatever changes something. */
#include "base/check.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* ---- CLOSE, UNSELECT --------------------------------------------------------------------------------- */

enum verdict cmd_unselect(struct imap_session *s)
{
	imap_deselect(s);
	return imap_finish_done(s);
}

/* With QRESYNC the client learns how far it is, which it cannot see any more (RFC 7162 section 3.2.8). */
static enum verdict finish_closed(struct imap_session *s, const struct operation_answer *a)
{
	if (a->result != OPR_OK || a->uids.n == 0 || (s->enabled & ENABLED_QRESYNC) == 0)
		return cmd_unselect(s);
	imap_deselect(s);
	return imap_finishf(
	    s, "OK", "[HIGHESTMODSEQ %llu] CLOSE completed", (unsigned long long)a->modseq);
}

static void on_closed(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	bool done = a->result == OPR_OK || a->result == OPR_NO_MAILBOX;
	imap_step(s, done ? finish_closed(s, a) : imap_finish_result(s, a->result));
}

static bool holds_deleted(const struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return true; /* the committer will know */
	bool any = index_mailbox_get(v, s->box->id, &m) && m.deleted > 0;
	index_view_end(&v);
	return any;
}

enum verdict cmd_close(struct imap_session *s)
{
	static const struct uid_range every = { 1, UINT32_MAX };
	struct operation op;
	if (s->box->read_only || (s->box->rights & ACL_EXPUNGE) == 0 || !holds_deleted(s))
		return cmd_unselect(s);
	operation_init(&op, OP_EXPUNGE);
	op.mailbox = s->box->id;
	op.uids = (struct uid_set){ &every, 1 };
	op.only_deleted = true;
	return imap_operate(s, &op, on_closed);
}

/* ---- mailboxes made and removed ------------------------------------------------------------------------ */

/* Of the mailbox that is the command's first, or only, one; it may be somebody else's. */
static enum verdict change_mailbox(struct imap_session *s, struct operation *op, operation_fn *fn)
{
	struct shared_name n = shared_parse(s, buf_span(&s->cmd.name));
	if (n.owner.n == 0)
		return imap_finish_result(s, op->kind == OP_CREATE ? OPR_DENIED : OPR_NO_MAILBOX);
	op->name = n.name;
	shared_act(s, op, n.owner);
	return imap_operate(s, op, fn);
}

/* Is it there as far as the user may know? */
static enum operation_result find_first(struct imap_session *s, uint32_t rights)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return OPR_LATER;
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), rights, &m);
	index_view_end(&v);
	return r;
}

static bool is_own(const struct imap_session *s)
{
	return span_eq_str(shared_parse(s, buf_span(&s->cmd.name)).owner, s->user);
}

/* Subscriptions are the user's own, of whatever name. */
static enum verdict change_subscription(
    struct imap_session *s, struct operation *op, operation_fn *fn)
{
	op->name = buf_span(&s->cmd.name);
	op->user = span_str(s->user);
	return imap_operate(s, op, fn);
}

/* Nothing is to be told but that it is done. */
static void on_changed(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, a->result == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, a->result));
}

static const struct {
	const char *name;
	uint32_t use;
} uses[] = {
	{ "Archive", STORE_USE_ARCHIVE },
	{ "Drafts", STORE_USE_DRAFTS },
	{ "Junk", STORE_USE_JUNK },
	{ "Sent", STORE_USE_SENT },
	{ "Trash", STORE_USE_TRASH },
};

/* "\Sent"; false: none that a mailbox may be made for. */
static bool read_use(struct imap_cursor *c, uint32_t *uses_out)
{
	imap_read_char(c, '\\');
	struct span word = imap_read_atom(c);
	for (size_t i = 0; i < COUNT_OF(uses); i++) {
		if (!span_ieq_str(word, uses[i].name))
			continue;
		*uses_out |= uses[i].use;
		return true;
	}
	return !imap_ok(c);
}

/* " (USE (\Sent \Drafts))", RFC 6154 section 3. */
static bool read_uses(struct imap_cursor *c, uint32_t *uses_out)
{
	bool known = true;
	imap_read_sp(c);
	imap_read_char(c, '(');
	if (!imap_try_word(c, "USE"))
		imap_fail(c, "Unknown parameter");
	imap_read_sp(c);
	imap_read_char(c, '(');
	do {
		known = read_use(c, uses_out) && known;
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	imap_read_char(c, ')');
	return known;
}

/* The separator at the end says only that inferiors will follow (RFC 3501 section 6.3.3). */
/* What RFC 6855 section 3 keeps out of names beside the controls of ASCII: U+0080 to U+009F, U+2028, U+2029. Only new
 * mailboxes are asked: one that came from elsewhere with such a name can be reached, and renamed. */
static bool is_net_unicode(struct span name)
{
	for (size_t i = 0; i + 1 < name.n; i++) {
		const unsigned char *p = (const unsigned char *)name.p + i;
		if (p[0] == 0xc2 && p[1] < 0xa0)
			return false;
		if (i + 2 < name.n && p[0] == 0xe2 && p[1] == 0x80 &&
		    (p[2] == 0xa8 || p[2] == 0xa9))
			return false;
	}
	return true;
}

static void read_new_mailbox(struct imap_session *s, struct buf *name)
{
	struct imap_cursor *c = &s->cmd.args;
	struct span sent = imap_read_astring(c);
	if (sent.n > 1 && sent.p[sent.n - 1] == '/')
		sent.n--;
	if (imap_ok(c))
		imap_name_of(s, sent, name);
}

/* Without the code when the index cannot be read at this moment. */
static enum verdict finish_created(struct imap_session *s, uint64_t mailbox)
{
	struct buf id = BUF_INIT(64);
	struct index_view *view = index_view_begin(s->partition->index);
	if (view == NULL)
		return imap_finish_done(s);
	imap_put_mailboxid(&id, index_mailbox_object(view, mailbox));
	index_view_end(&view);
	enum verdict v = imap_finishf(s, "OK", "[MAILBOXID %s] CREATE completed", buf_cstr(&id));
	buf_end(&id);
	return v;
}

static void on_created(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s,
	    a->result == OPR_OK ? finish_created(s, a->mailbox) : imap_finish_result(s, a->result));
}

enum verdict cmd_create(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	struct operation op;
	bool known = true;
	operation_init(&op, OP_CREATE);
	imap_read_sp(c);
	read_new_mailbox(s, &s->cmd.name);
	if (imap_ok(c) && !imap_at_end(c))
		known = read_uses(c, &op.uses);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (!known)
		return imap_finish(s, "NO", "[USEATTR] This use is not for mailboxes here");
	if (buf_len(&s->cmd.name) == 0 || !is_net_unicode(buf_span(&s->cmd.name)))
		return imap_finish_result(s, OPR_BAD_NAME);
	return change_mailbox(s, &op, on_created);
}

static bool is_selected_there(const struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->box_in->index);
	if (v == NULL)
		return true;
	bool there = index_mailbox_get(v, s->box->id, &m);
	index_view_end(&v);
	return there;
}

static void on_deleted(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	if (a->result == OPR_OK && s->box != NULL && !is_selected_there(s))
		imap_deselect(s); /* it was the selected one */
	on_changed(s, a);
}

enum verdict cmd_delete(struct imap_session *s)
{
	struct operation op;
	if (buf_len(&s->cmd.name) == 0)
		return imap_finish_result(s, OPR_NO_MAILBOX);
	enum operation_result r = is_own(s) ? OPR_OK : find_first(s, ACL_DELETE);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	operation_init(&op, OP_DELETE);
	return change_mailbox(s, &op, on_deleted);
}

enum verdict cmd_rename(struct imap_session *s)
{
	struct operation op;
	if (buf_len(&s->cmd.name) == 0)
		return imap_finish_result(s, OPR_NO_MAILBOX);
	if (buf_len(&s->cmd.name2) == 0 || !is_net_unicode(buf_span(&s->cmd.name2)))
		return imap_finish_result(s, OPR_BAD_NAME);
	struct shared_name to = shared_parse(s, buf_span(&s->cmd.name2));
	enum operation_result r = is_own(s) ? OPR_OK : find_first(s, ACL_DELETE);
	if (r == OPR_OK && !span_eq(to.owner, shared_parse(s, buf_span(&s->cmd.name)).owner))
		r = OPR_DENIED; /* from one user to another: COPY can do it */
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	operation_init(&op, OP_RENAME);
	op.new_name = to.name;
	return change_mailbox(s, &op, on_changed);
}

static bool count_name(void *arg, struct span name)
{
	size_t *n = arg;
	return ++*n < STORE_MAILBOXES_MAX;
}

/* Names need no mailbox, so they have a bound of their own. */
enum verdict cmd_subscribe(struct imap_session *s)
{
	struct operation op;
	size_t n = 0;
	if (buf_len(&s->cmd.name) == 0)
		return imap_finish_result(s, OPR_BAD_NAME);
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	index_subscriptions(v, span_str(s->user), count_name, &n);
	index_view_end(&v);
	if (s->guest)
		return imap_finish_result(s, OPR_DENIED); /* subscriptions are kept at home */
	if (n >= STORE_MAILBOXES_MAX)
		return imap_finish(s, "NO", "[LIMIT] Too many subscriptions");
	operation_init(&op, OP_SUBSCRIBE);
	return change_subscription(s, &op, on_changed);
}

enum verdict cmd_unsubscribe(struct imap_session *s)
{
	struct operation op;
	if (buf_len(&s->cmd.name) == 0)
		return imap_finish_result(s, OPR_NO_MAILBOX);
	operation_init(&op, OP_UNSUBSCRIBE);
	return change_subscription(s, &op, on_changed);
}
