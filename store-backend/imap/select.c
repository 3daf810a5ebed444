/* select.c - SELECT and EXAMINE (RFC 3501 section 6.3.1), with the parameters CONDSTORE and QRESYNC (RFC 7162).
 *
 * Before: input.c. After: selected.c holds the messages; with QRESYNC fetch.c goes on with what has changed
 * since the client was here. What the client says it knows waits as the session's job. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/session.h"

struct resync {
	struct imap_job job; /* first member; never run */
	uint32_t uidvalidity;
	uint64_t since;
	struct imap_set known;      /* owned: uids */
	struct imap_set seqs, uids; /* owned: places of messages, in ascending order */
};

static void end_resync(struct imap_job *job)
{
	struct resync *r = (struct resync *)job;
	imap_set_end(&r->known);
	imap_set_end(&r->seqs);
	imap_set_end(&r->uids);
	mem_free(r);
}

/* ---- the parameters ------------------------------------------------------------------------------------ */

static void read_plain_set(struct imap_cursor *c, struct imap_set *out)
{
	imap_read_set(c, out);
	if (out->saved)
		imap_fail(c, "No $ in this set");
	for (size_t i = 0; i < out->n; i++) {
		if (out->v[i].first == IMAP_STAR || out->v[i].last == IMAP_STAR)
			imap_fail(c, "No * in this set");
	}
}

/* "(" seqs SP uids ")" */
static void read_places(struct imap_cursor *c, struct resync *r)
{
	imap_read_char(c, '(');
	read_plain_set(c, &r->seqs);
	imap_read_sp(c);
	read_plain_set(c, &r->uids);
	imap_read_char(c, ')');
}

/* SP "(" uidvalidity SP modseq [SP known-uids] [SP places] ")" */
static void read_resync(struct imap_cursor *c, struct resync *r)
{
	imap_read_sp(c);
	imap_read_char(c, '(');
	r->uidvalidity = imap_read_nz_number(c);
	imap_read_sp(c);
	r->since = imap_read_number64(c);
	bool more = imap_try(c, ' ');
	if (more && imap_peek(c) != '(') {
		read_plain_set(c, &r->known);
		more = imap_try(c, ' ');
	}
	if (more)
		read_places(c, r);
	imap_read_char(c, ')');
	if (r->known.n == 0 && imap_ok(c))
		(void)imap_set_add(&r->known, 1, UINT32_MAX);
}

static struct resync *start_resync(struct imap_session *s)
{
	struct resync *r = MEM_NEW(struct resync);
	r->job.end = end_resync;
	s->job = &r->job;
	return r;
}

/* [SP "(" parameter *(SP parameter) ")"]; what they enable. */
static unsigned read_parameters(struct imap_session *s)
{
	struct imap_cursor *c = &s->cmd.args;
	unsigned enable = 0;
	if (!imap_try(c, ' '))
		return 0;
	imap_read_char(c, '(');
	do {
		if (imap_try_word(c, "CONDSTORE"))
			enable = ENABLED_CONDSTORE;
		else if (s->job == NULL && imap_try_word(c, "QRESYNC"))
			read_resync(c, start_resync(s));
		else
			imap_fail(c, "Unknown parameter");
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	if (s->job != NULL && (s->enabled & ENABLED_QRESYNC) == 0)
		imap_fail(c, "ENABLE QRESYNC first");
	return enable;
}

/* ---- what has changed -------------------------------------------------------------------------------- */

struct spot {
	size_t range;
	uint32_t number; /* 0: before its first */
};

static bool next_number(const struct imap_set *set, struct spot *at)
{
	if (at->range < set->n && at->number >= set->v[at->range].last) {
		at->range++;
		at->number = 0;
	}
	if (at->range >= set->n)
		return false;
	uint32_t first = set->v[at->range].first;
	at->number = at->number < first ? first : at->number + 1;
	return true;
}

/* Messages whose place the client still knows: up to the last of them nothing can have been expunged. */
static uint32_t settled_uid(const struct selected *box, const struct resync *r)
{
	struct spot seq = { 0 }, uid = { 0 };
	uint32_t settled = 0;
	while (next_number(&r->seqs, &seq) && next_number(&r->uids, &uid)) {
		if (seq.number > box->n || box->v[seq.number - 1].uid != uid.number)
			break;
		settled = uid.number;
	}
	return settled;
}

static void copy_above(const struct imap_set *from, uint32_t above, struct imap_set *out)
{
	for (size_t i = 0; i < from->n; i++) {
		struct imap_range r = from->v[i];
		if (r.last > above)
			(void)imap_set_add(out, r.first > above ? r.first : above + 1, r.last);
	}
}

static enum verdict tell_changes(struct imap_session *s, struct index_view *v, const char *done)
{
	struct resync *r = (struct resync *)s->job;
	struct imap_set known = r->known, maybe_gone = { 0 };
	r->known = (struct imap_set){ 0 };
	imap_set_resolve(&known, UINT32_MAX);
	copy_above(&known, settled_uid(s->box, r), &maybe_gone);
	struct imap_changes_ask ask = { .since = r->since, .known_vanished = &maybe_gone };
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
	say_first_unseen(s);
}

/* RFC 9051 section 6.3.2: the name as it is written here. */
static void say_listed(struct imap_session *s, struct span name)
{
	imap_say(s, "* LIST () \"/\" ");
	imap_put_name(s, name);
	imap_say(s, "\r\n");
}

static void say_selected(struct imap_session *s, const struct index_mailbox *m)
{
	struct selected *box = s->box;
	imap_say(s, "* ");
	selected_put_mailbox_flags(box, &s->text);
	imap_say(s, "\r\n* OK [");
	selected_put_permanent_flags(box, &s->text);
	imap_say(s, "] Flags that can be changed\r\n* %zu EXISTS\r\n", box->n);
	if (box->rev2)
		say_listed(s, m->name);
	else
		say_recent(s);
	imap_say(s, "* OK [UIDVALIDITY %u] UIDs are valid\r\n* OK [UIDNEXT %u] Next UID\r\n",
	    m->uidvalidity, m->uidnext);
	imap_say(s, "* OK [HIGHESTMODSEQ %llu] Highest\r\n* OK [MAILBOXID ",
	    (unsigned long long)box->modseq);
	imap_put_mailboxid(&s->text, box->id);
	imap_say(s, "] Id\r\n");
	selected_told_all(box);
}

/* In a view in which the mailbox is there. */
static enum verdict open_mailbox(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m)
{
	bool read_only = s->cmd.row->run == cmd_examine;
	const struct resync *r = (const struct resync *)s->job;
	const char *done =
	    read_only ? "[READ-ONLY] EXAMINE completed" : "[READ-WRITE] SELECT completed";
	imap_select(s, m, read_only);
	selected_refresh(s->box, v);
	say_selected(s, m);
	if (r != NULL && r->uidvalidity == m->uidvalidity)
		return tell_changes(s, v, done);
	return imap_finish(s, "OK", done);
}

/* ---- the commands -------------------------------------------------------------------------------------- */

static enum verdict no_such(struct imap_session *s)
{
	return imap_finish_result(s, OPR_NO_MAILBOX);
}

/* The mailbox named by the command, with its recent messages from `taken` on if that is not 0. */
static enum verdict find_and_open(struct imap_session *s, uint32_t taken)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return imap_finish_later(s);
	bool there = index_mailbox_find(v, span_str(s->user), buf_span(&s->cmd.name), &m);
	if (there && taken != 0)
		m.recent_from = taken;
	enum verdict ended = there ? open_mailbox(s, v, &m) : no_such(s);
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
	bool there = index_mailbox_find(v, span_str(s->user), buf_span(&s->cmd.name), &m);
	index_view_end(&v);
	if (!there)
		return no_such(s);
	if (m.recent_from == m.uidnext || !operation_link_up(s->partition->link))
		return find_and_open(s, 0);
	operation_init(&op, OP_TAKE_RECENT);
	op.user = span_str(s->user);
	op.mailbox = m.id;
	return imap_operate(s, &op, on_recent_taken);
}

static enum verdict start(struct imap_session *s, enum verdict (*go)(struct imap_session *s))
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	imap_read_mailbox(s, &s->cmd.name);
	unsigned enable = read_parameters(s);
	imap_read_end(c);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (s->box != NULL)
		imap_say(s, "* OK [CLOSED] The mailbox before is closed\r\n");
	imap_deselect(s);
	imap_enable(s, enable);
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
