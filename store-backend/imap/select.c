/* select.c - SELECT and EXAMINE (RFC 3501 section 6.3.1), with the parameters CONDSTORE and QRESYNC (RFC 7162).
 *
 * Before: input.c. After: selected.c holds the messages; with QRESYNC fetch.c goes on with what has changed
 * since the client was here. What the client says it knows waits as the session's job. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/remote.h"
#include "store-backend/imap/select_parse.h"
#include "store-backend/imap/session.h"
#include "store-backend/imap/shared.h"

/* One who may do none of these reads only (RFC 4314 section 5.2). */
enum { CHANGES = ACL_SEEN | ACL_WRITE | ACL_INSERT | ACL_TRASH | ACL_EXPUNGE };

struct resync {
	struct imap_job job;         /* first member; never run */
	struct select_params params; /* owned */
};

static void end_resync(struct imap_job *job)
{
	struct resync *r = (struct resync *)job;
	select_params_end(&r->params);
	mem_free(r);
}

/* ---- what has changed -------------------------------------------------------------------------------- */

static enum verdict tell_changes(struct imap_session *s, struct index_view *v, const char *done)
{
	struct resync *r = (struct resync *)s->job;
	struct imap_set known = r->params.known, maybe_gone = { 0 };
	r->params.known = (struct imap_set){ 0 };
	imap_set_resolve(&known, UINT32_MAX);
	select_above(&known, select_settled_uid(s->box, &r->params), &maybe_gone);
	struct imap_changes_ask ask = { .since = r->params.since, .known_vanished = &maybe_gone };
	ask.done = done;
	end_resync(s->job);
	s->job = NULL;
	enum verdict next = imap_start_changes(s, v, &ask, &known);
	imap_set_end(&maybe_gone);
	return next;
}

/* ---- what is there ------------------------------------------------------------------------------------- */

static void say_first_unseen(struct imap_session *s)
{
	const struct selected *box = s->box;
	for (size_t i = 0; i < box->n; i++) {
		if ((box->v[i].bits & STORE_SEEN) != 0)
			continue;
		imap_say(s, "* OK [UNSEEN %zu] First unseen\r\n", i + 1);
		return;
	}
}

static void say_recent(struct imap_session *s)
{
	imap_say(s, "* %zu RECENT\r\n", selected_recent(s->box));
	if (!s->box->uidonly)
		say_first_unseen(s);
}

/* RFC 9051 section 6.3.2: the name as it is written here. */
static void say_listed(struct imap_session *s, struct span name)
{
	imap_say(s, "* LIST () \"/\" ");
	imap_put_name(s, name);
	imap_say(s, "\r\n");
}

static void say_selected(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m)
{
	struct selected *box = s->box;
	imap_say(s, "* ");
	selected_put_mailbox_flags(box, &s->text);
	imap_say(s, "\r\n* OK [");
	selected_put_permanent_flags(box, &s->text);
	imap_say(s, "] Flags that can be changed\r\n* %zu EXISTS\r\n", box->n);
	if (box->rev2)
		say_listed(s, buf_span(&s->cmd.name));
	else
		say_recent(s);
	imap_say(s, "* OK [UIDVALIDITY %u] UIDs are valid\r\n* OK [UIDNEXT %u] Next UID\r\n",
	    m->uidvalidity, m->uidnext);
	imap_say(s, "* OK [HIGHESTMODSEQ %llu] Highest\r\n* OK [MAILBOXID ",
	    (unsigned long long)box->modseq);
	imap_put_mailboxid(&s->text, index_mailbox_object(v, box->id));
	imap_say(s, "] Id\r\n* OK [URLMECH INTERNAL] URLs can be authorized\r\n");
	selected_told_all(box);
}

/* In a view in which the mailbox is there. */
static enum verdict open_mailbox(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m)
{
	uint32_t rights = index_rights(v, m, span_str(s->user));
	bool read_only = s->cmd.row->run == cmd_examine || (rights & CHANGES) == 0;
	const struct resync *r = (const struct resync *)s->job;
	const char *done =
	    read_only ? "[READ-ONLY] EXAMINE completed" : "[READ-WRITE] SELECT completed";
	imap_select(s, m, read_only)->rights = rights;
	selected_refresh(s->box, v);
	say_selected(s, v, m);
	if (r != NULL && r->params.uidvalidity == m->uidvalidity)
		return tell_changes(s, v, done);
	return imap_finish(s, "OK", done);
}

/* ---- the commands -------------------------------------------------------------------------------------- */

/* The mailbox named by the command, with its recent messages from `taken` on if that is not 0. */
static enum verdict find_and_open(struct imap_session *s, uint32_t taken)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_READ, &m);
	if (taken != 0)
		m.recent_from = taken;
	enum verdict ended = r == OPR_OK ? open_mailbox(s, v, &m) : imap_finish_result(s, r);
	index_view_end(&v);
	return ended;
}

static void on_recent_taken(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, find_and_open(s, a->result == OPR_OK ? a->recent_from : 0));
}

/* \Recent is given to one session only, so it is a change; not worth waiting for a committer that is away. */
static enum verdict take_recent(struct imap_session *s)
{
	struct index_mailbox m;
	struct operation op;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	enum operation_result r = shared_find(s, v, buf_span(&s->cmd.name), ACL_READ, &m);
	index_view_end(&v);
	if (r != OPR_OK)
		return imap_finish_result(s, r);
	if (m.recent_from == m.uidnext || !operation_link_up(s->partition->link))
		return find_and_open(s, 0);
	operation_init(&op, OP_TAKE_RECENT);
	op.mailbox = m.id;
	shared_act(s, &op, shared_parse(s, buf_span(&s->cmd.name)).owner);
	return imap_operate(s, &op, on_recent_taken);
}

static void keep_params(struct imap_session *s, struct select_params *take_params)
{
	struct resync *r = MEM_NEW(struct resync);
	r->job.end = end_resync;
	r->params = *take_params;
	s->job = &r->job;
}

static enum verdict start(struct imap_session *s, enum verdict (*go)(struct imap_session *s))
{
	struct imap_cursor *c = &s->cmd.args;
	struct select_params params;
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	select_parse(c, &params);
	if (params.qresync && (s->enabled & ENABLED_QRESYNC) == 0)
		imap_fail(c, "ENABLE QRESYNC first");
	if (params.seqs.n > 0 && (s->enabled & ENABLED_UIDONLY) != 0)
		imap_fail(c, "[UIDREQUIRED] Messages have no numbers after ENABLE UIDONLY");
	imap_read_end(c);
	if (!imap_ok(c)) {
		select_params_end(&params);
		return imap_finish_bad(s, c->why);
	}
	if (params.qresync)
		keep_params(s, &params);
	if (s->box != NULL || imap_remote_is_selected(s))
		imap_say(s, "* OK [CLOSED] The mailbox before is closed\r\n");
	imap_deselect(s);
	imap_enable(s, params.condstore ? ENABLED_CONDSTORE : 0);
	return go(s);
}

static enum verdict open_now(struct imap_session *s)
{
	return find_and_open(s, 0);
}

enum verdict cmd_select(struct imap_session *s)
{
	return start(s, take_recent);
}

enum verdict cmd_examine(struct imap_session *s)
{
	return start(s, open_now);
}
