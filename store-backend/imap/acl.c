/* acl.c - SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314). Before: input.c; after: index_acl.c decides about
 * changes, here only what is looked at. Owns nothing. */
#include "base/check.h"

#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* ---- identifiers ------------------------------------------------------------------------------------------ */

/* Lower case; a name without a domain is of the owner's. False: it can be nobody. */
static bool put_who(struct buf *out, struct span sent, struct span owner)
{
	char lower[ACL_WHO_MAX];
	if (sent.n == 0 || sent.n > sizeof lower)
		return false;
	span_lower_to(lower, sent);
	struct span who = span_of(lower, sent.n), bare = who;
	if (bare.n > 1 && bare.p[0] == '-')
		bare = span_from(bare, 1);
	buf_add_span(out, who);
	if (!span_eq_str(bare, "anyone") && span_find(bare, '@') == SIZE_MAX)
		buf_add_span(out, span_from(owner, span_rfind(owner, '@')));
	return buf_ok(out) && acl_who_ok(buf_span(out));
}

static void say_rights(struct imap_session *s, uint32_t rights)
{
	struct buf b = BUF_INIT(64);
	acl_put(&b, rights);
	imap_put_astring(&s->text, buf_len(&b) > 0 ? buf_span(&b) : SPAN(""));
	buf_end(&b);
}

/* ---- SETACL, DELETEACL ------------------------------------------------------------------------------------- */

static void on_set(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, a->result == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, a->result));
}

/* "+lr", "-x" or "lrs". */
static bool parse_change(struct span sent, struct operation *op)
{
	op->how = FLAGS_SET;
	if (sent.n > 0 && (sent.p[0] == '+' || sent.p[0] == '-')) {
		op->how = sent.p[0] == '+' ? FLAGS_ADD : FLAGS_REMOVE;
		sent = span_from(sent, 1);
	}
	return acl_parse(sent, &op->uses);
}

static enum verdict set_rights(struct imap_session *s, struct operation *op, struct span who)
{
	struct index_mailbox m = { 0 };
	struct buf *name = &s->cmd.name2;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_ADMIN, &m);
	bool known = r == OPR_OK && put_who(name, who, m.user);
	bool owner = known && span_eq(buf_span(name), m.user);
	index_view_end(&v);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	if (!known)
		return imap_finish_bad(s, "No such identifier");
	if (owner)
		return imap_finish_done(s); /* who owns it has all rights, whatever is said */
	op->mailbox = m.id;
	op->name = buf_span(name);
	shared_act(s, op, shared_parse(s, buf_span(&s->cmd.name)).owner);
	return imap_operate(s, op, on_set);
}

static enum verdict change_acl(struct imap_session *s, bool set)
{
	struct imap_cursor *c = &s->cmd.args;
	struct operation op;
	bool ok = true;
	operation_init(&op, OP_SET_ACL);
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	imap_read_sp(c);
	struct span who = imap_read_astring(c);
	if (set) {
		imap_read_sp(c);
		ok = parse_change(imap_read_astring(c), &op);
	}
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	return ok ? set_rights(s, &op, who) : imap_finish_bad(s, "No such right");
}

enum verdict cmd_setacl(struct imap_session *s)
{
	return change_acl(s, true);
}

enum verdict cmd_deleteacl(struct imap_session *s)
{
	return change_acl(s, false);
}

/* ---- GETACL, LISTRIGHTS, MYRIGHTS ----------------------------------------------------------------------------- */

static bool say_row(void *arg, struct span who, uint32_t rights)
{
	struct imap_session *s = arg;
	imap_say(s, " ");
	imap_put_astring(&s->text, who);
	imap_say(s, " ");
	say_rights(s, rights);
	return true;
}

static enum verdict getacl(struct imap_session *s, struct index_view *v)
{
	struct index_mailbox m;
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_ADMIN, &m);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	imap_say(s, "* ACL ");
	imap_put_name(s, buf_span(&s->cmd.name));
	say_row(s, m.user, ACL_ALL);
	index_acl(v, m.id, say_row, s);
	imap_say(s, "\r\n");
	return imap_finish_done(s);
}

enum verdict cmd_getacl(struct imap_session *s)
{
	struct index_view *v = index_view_begin(s->partition->index);
	enum verdict next = v == NULL ? imap_finish_later(s) : getacl(s, v);
	index_view_end(&v);
	return next;
}

/* Each right can be given by itself; the owner has all of them and cannot lose one. */
static enum verdict listrights(struct imap_session *s, struct index_view *v, struct span sent)
{
	struct index_mailbox m;
	struct buf *who = &s->cmd.name2;
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_ADMIN, &m);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	if (!put_who(who, sent, m.user))
		return imap_finish_bad(s, "No such identifier");
	imap_say(s, "* LISTRIGHTS ");
	imap_put_name(s, buf_span(&s->cmd.name));
	imap_say(s, " ");
	imap_put_astring(&s->text, sent);
	imap_say(s, " ");
	if (span_eq(buf_span(who), m.user))
		say_rights(s, ACL_ALL);
	else
		imap_say(s, "\"\" l r s w i p k x t e a c d");
	imap_say(s, "\r\n");
	return imap_finish_done(s);
}

enum verdict cmd_listrights(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	imap_read_sp(c);
	struct span who = imap_read_astring(c);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	struct index_view *v = index_view_begin(s->partition->index);
	enum verdict next = v == NULL ? imap_finish_later(s) : listrights(s, v, who);
	index_view_end(&v);
	return next;
}

void imap_say_myrights(struct imap_session *s, struct span name, uint32_t rights)
{
	imap_say(s, "* MYRIGHTS ");
	imap_put_name(s, name);
	imap_say(s, " ");
	say_rights(s, rights);
	imap_say(s, "\r\n");
}

enum verdict cmd_myrights(struct imap_session *s)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), 0, &m);
	if (r == OPR_OK)
		imap_say_myrights(
		    s, buf_span(&s->cmd.name), index_rights(v, &m, span_str(s->user)));
	index_view_end(&v);
	return r == OPR_OK ? imap_finish_done(s) : imap_finish_result(s, r);
}
