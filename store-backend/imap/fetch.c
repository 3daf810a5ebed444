/* fetch.c - FETCH and UID FETCH (RFC 3501 section 6.4.5): a job that puts item after item.
 *
 * Before: session.c has framed the command. After: fetch_put.c makes each item, the stream takes text and
 * ranges of the log's files. Owns the request, the set and the message in work; a view lives within one
 * call of run_fetch(). \Seen is set for the whole set by one operation before the first answer. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/blob.h"
#include "store-backend/imap/changes.h"
#include "store-backend/imap/fetch.h"
#include "store-backend/imap/session.h"

enum {
	TURN_ITEMS = 256,        /* then other sessions have their turn */
	TURN_BYTES = 512 * 1024, /* of text and bytes read, likewise */
	TEXT_HIGH = 32 * 1024,   /* text beyond it leaves before more is made */
	AHEAD_MAX = 1024 * 1024  /* bytes of files that wait in the stream */
};

struct fetch_job {
	struct imap_job job;
	struct imap_set set; /* owned */
	struct selected_walk walk;
	bool needs_entry;
	struct changes changes;  /* owned: with req.changed */
	size_t changed_at;       /* next of them */
	struct index_view *view; /* within one turn */
	/* the message in work */
	bool in_message, any_said, noted;
	size_t item;
	bool in_binary;
	struct fetch_binary binary;
	struct fetch_subject subject;
	struct message message; /* owned */
	struct blob blob;
	struct file_ref *file; /* owned; not NULL: range of it comes next, at file_at */
	uint64_t file_at;
	struct message_range range;
	/* for the reply */
	bool expunged, unreadable, unmarked, unknown;
	const char *done; /* NULL, or the text of a good end */
	struct fetch_request req;
};

static struct fetch_job *fetch_job_of(struct imap_job *job)
{
	return LIST_OF(struct fetch_job, job, job);
}

static void end_fetch(struct imap_job *job)
{
	struct fetch_job *f = fetch_job_of(job);
	imap_set_end(&f->set);
	changes_end(&f->changes);
	message_end(&f->message);
	file_ref_put(&f->file);
	mem_free(f);
}

/* ---- one message --------------------------------------------------------------------------------- */

static bool open_view(struct imap_session *s, struct fetch_job *f)
{
	if (f->view == NULL)
		f->view = index_view_begin(s->partition->index);
	return f->view != NULL;
}

static void begin_message(struct imap_session *s, struct fetch_job *f)
{
	f->in_message = true;
	f->any_said = f->noted = false;
	f->item = 0;
	selected_put_fetch(s->box, f->subject.at, &s->text);
	if (!f->needs_entry)
		return;
	if (fetch_has(&f->req, FETCH_EMAILID))
		f->subject.object = index_object(f->view, f->subject.entry.blob);
	blob_init(&f->blob, s->partition->reader, &f->subject.entry);
	message_init(&f->message, &f->blob.bytes);
	message_set_cache(&f->message, index_cache(f->view, f->subject.entry.blob));
}

static bool next_changed(const struct selected *box, struct fetch_job *f, size_t *index_out)
{
	while (f->changed_at < f->changes.changed_n) {
		uint32_t uid = f->changes.changed[f->changed_at++];
		size_t i = selected_find(box, uid);
		*index_out = i;
		if (i < box->told_n && imap_set_has(&f->set, f->walk.uid ? uid : (uint32_t)(i + 1)))
			return true;
	}
	return false;
}

/* Begins the next message of the set, or passes one over that is gone. False: there is none. */
static bool next_message(struct imap_session *s, struct fetch_job *f)
{
	struct fetch_subject *of = &f->subject;
	if (f->req.changed ? !next_changed(s->box, f, &of->at)
			   : !selected_walk_next(&f->walk, &of->at))
		return false;
	const struct selected_message *m = &s->box->v[of->at];
	if ((m->bits & MARK_GONE) != 0 ||
	    (f->needs_entry && !index_entry(f->view, s->box->id, m->uid, &of->entry)))
		f->expunged = true;
	else
		begin_message(s, f);
	return true;
}

static void say_item(struct imap_session *s, struct fetch_job *f, struct span text)
{
	if (f->any_said)
		buf_add_char(&s->text, ' ');
	buf_add_span(&s->text, text);
	f->any_said = true;
}

static void note_unreadable(struct imap_session *s, struct fetch_job *f, err_t err)
{
	if (!f->noted)
		blob_note_unreadable(s, &f->subject.entry, err);
	f->noted = f->unreadable = true;
}

/* Who knows of modseqs is told of a change with its own. */
static bool flags_are_told(const struct imap_session *s, const struct fetch_job *f)
{
	return !s->box->modseqs || fetch_has(&f->req, FETCH_MODSEQ);
}

static void put_item(struct imap_session *s, struct fetch_job *f, const struct fetch_item *it)
{
	struct buf text = BUF_INIT(2 * FETCH_TEXT_MAX);
	err_t err = ERR_OK;
	enum fetch_put put = fetch_put_item(&text, &f->req, it, &f->subject, &f->range);
	if (put == PUT_UNREADABLE)
		err = f->message.err;
	else if (put == PUT_RANGE) /* nothing is announced that cannot be sent */
		err = blob_file(&f->blob, f->range, &f->file, &f->file_at);
	if (err)
		note_unreadable(s, f, err);
	else
		say_item(s, f, buf_span(&text));
	if (it->kind == FETCH_FLAGS && flags_are_told(s, f))
		selected_told_flags(s->box, f->subject.at);
	buf_end(&text);
}

static void start_binary(struct imap_session *s, struct fetch_job *f, const struct fetch_item *it)
{
	struct buf text = BUF_INIT(1024);
	switch (fetch_binary_start(&f->binary, &f->message, it)) {
	case BINARY_STARTED:
		f->in_binary = true;
		break;
	case BINARY_NIL:
		fetch_binary_label(it, &text);
		buf_add_str(&text, " NIL");
		say_item(s, f, buf_span(&text));
		break;
	case BINARY_UNKNOWN:
		f->unknown = true;
		break;
	case BINARY_UNREADABLE:
		note_unreadable(s, f, f->message.err);
		break;
	}
	buf_end(&text);
}

/* A failure behind the announcement of a literal cannot be said any more. */
static enum verdict step_binary(struct imap_session *s, struct fetch_job *f)
{
	bool telling = f->binary.telling;
	enum fetch_binary_step next =
	    fetch_binary_step(&f->binary, &f->message, f->any_said ? " " : "", &s->text);
	f->in_binary = next == BINARY_GOES_ON;
	f->any_said = f->any_said || next == BINARY_DONE;
	if (next != BINARY_FAILED)
		return V_NEXT;
	note_unreadable(s, f, f->message.err);
	return telling ? imap_bye(s, "message-unreadable", "A message cannot be read now") : V_NEXT;
}

/* Flags that have changed are told, and an answer that has nothing to say names its message. */
static void end_message(struct imap_session *s, struct fetch_job *f)
{
	if ((s->box->v[f->subject.at].bits & MARK_DIRTY) != 0 && flags_are_told(s, f))
		put_item(s, f, &(struct fetch_item){ .kind = FETCH_FLAGS });
	if (!f->any_said)
		put_item(s, f, &(struct fetch_item){ .kind = FETCH_UID });
	imap_say(s, ")\r\n");
	message_end(&f->message);
	f->in_message = false;
}

/* ---- the job ------------------------------------------------------------------------------------- */

static enum verdict finish_fetch(struct imap_session *s, const struct fetch_job *f)
{
	if (f->unknown)
		return imap_finish(s, "NO", "[UNKNOWN-CTE] Some parts cannot be decoded");
	if (f->unreadable)
		return imap_finish(s, "NO", "[UNAVAILABLE] Some messages cannot be read now");
	if (f->expunged && !f->walk.uid)
		return imap_finish_expunged(s);
	if (f->unmarked)
		return imap_finish(s, "OK", "FETCH completed, but \\Seen could not be set");
	return f->done != NULL ? imap_finish(s, "OK", f->done) : imap_finish_done(s);
}

/* The text before it must have left first. */
static bool send_range(struct imap_session *s, struct fetch_job *f)
{
	if (!imap_flush(s))
		return false;
	stream_write_file(s->io, f->file, (off_t)f->file_at, (size_t)f->range.n);
	file_ref_put(&f->file);
	return true;
}

static bool has_room(struct imap_session *s)
{
	if (buf_len(&s->text) > TEXT_HIGH && !imap_flush(s))
		return false;
	return stream_pending(s->io) < AHEAD_MAX;
}

/* One item, or the step from one message to the next. False: there is no message any more. */
static bool one_step(struct imap_session *s, struct fetch_job *f)
{
	if (!f->in_message)
		return next_message(s, f);
	if (f->item < f->req.n && f->req.v[f->item].kind >= FETCH_BINARY)
		start_binary(s, f, &f->req.v[f->item++]);
	else if (f->item < f->req.n)
		put_item(s, f, &f->req.v[f->item++]);
	else
		end_message(s, f);
	return true;
}

static enum verdict one_turn(struct imap_session *s, struct fetch_job *f)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < TURN_ITEMS && bytes < TURN_BYTES; i++) {
		if (!has_room(s) || (f->file != NULL && !send_range(s, f)))
			return V_WAIT;
		if (!f->in_message && f->needs_entry && !open_view(s, f))
			return imap_finish_later(s);
		size_t before = buf_len(&s->text);
		if (f->in_binary) {
			if (step_binary(s, f) == V_CLOSE)
				return V_CLOSE;
		} else if (!one_step(s, f)) {
			return finish_fetch(s, f);
		}
		bytes += buf_len(&s->text) - before + (size_t)f->blob.taken;
		f->blob.taken = 0;
	}
	(void)imap_flush(s);
	return imap_yield(s);
}

static bool put_vanished(struct imap_session *s, struct fetch_job *f)
{
	while (!changes_put_vanished(&f->changes, &s->text)) {
		if (!imap_flush(s))
			return false;
	}
	return true;
}

static enum verdict run_fetch(struct imap_session *s, struct imap_job *job)
{
	struct fetch_job *f = fetch_job_of(job);
	if (f->in_message && f->needs_entry && open_view(s, f))
		message_set_cache(&f->message, index_cache(f->view, f->subject.entry.blob));
	enum verdict v = put_vanished(s, f) ? one_turn(s, f) : V_WAIT;
	message_rest(&f->message);
	index_view_end(&f->view);
	return v;
}

/* ---- \Seen --------------------------------------------------------------------------------------- */

static bool any_unseen(const struct selected *box, const struct fetch_job *f)
{
	struct selected_walk w = f->walk;
	size_t i;
	while (selected_walk_next(&w, &i)) {
		if ((box->v[i].bits & (STORE_SEEN | MARK_GONE)) == 0)
			return true;
	}
	return false;
}

static void on_seen(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct fetch_job *f = fetch_job_of(s->job);
	struct index_view *v = index_view_begin(s->partition->index);
	imap_answered(s);
	f->unmarked = a->result != OPR_OK; /* mail can be read though nothing can be changed */
	if (v != NULL && selected_refresh(s->box, v))
		selected_report_keywords(s->box, &s->text);
	index_view_end(&v);
	imap_step(s, imap_start_job(s, &f->job));
}

/* The job waits as the session's own, so that it ends with it. */
static enum verdict set_seen(struct imap_session *s, struct fetch_job *f)
{
	struct operation op;
	struct uid_range *uids;
	size_t n;
	s->job = &f->job;
	operation_init(&op, OP_FLAGS);
	op.mailbox = s->box->id;
	op.how = FLAGS_ADD;
	op.set.flags = STORE_SEEN;
	bool fits = selected_uids(s->box, &f->set, f->walk.uid, &uids, &n);
	op.uids = (struct uid_set){ uids, n };
	enum verdict v = fits ? imap_operate(s, &op, on_seen)
			      : imap_finish(s, "NO", "[LIMIT] Too many messages at once");
	mem_free(uids);
	return v;
}

/* ---- changes (RFC 7162) --------------------------------------------------------------------------- */

/* With the newest state of the mailbox: what is in the array and the modseqs of entries are to fit. */
static void read_changes(
    struct imap_session *s, struct fetch_job *f, struct index_view *v, const struct imap_set *known)
{
	if (!selected_refresh(s->box, v))
		return; /* it is gone, which will be told */
	selected_report_keywords(s->box, &s->text);
	if (f->req.changed)
		changes_read(&f->changes, v, s->box, f->req.since);
	if (f->req.vanished)
		changes_read_vanished(&f->changes, v, s->box, f->req.since, known);
}

/* A set of uids as sent, in which "*" is beyond every message that was expunged. */
static void copy_known(const struct imap_set *sent, struct imap_set *out)
{
	for (size_t i = 0; i < sent->n; i++)
		(void)imap_set_add(out, sent->v[i].first, sent->v[i].last);
	imap_set_resolve(out, UINT32_MAX);
}

/* False: not now. */
static bool prepare_modseqs(
    struct imap_session *s, struct fetch_job *f, const struct imap_set *known)
{
	if (!fetch_has(&f->req, FETCH_MODSEQ))
		return true;
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return false;
	imap_enable(s, ENABLED_CONDSTORE);
	read_changes(s, f, v, known);
	index_view_end(&v);
	return true;
}

static struct fetch_job *new_fetch(const struct imap_session *s)
{
	struct fetch_job *f = MEM_NEW(struct fetch_job);
	f->job = (struct imap_job){ .run = run_fetch, .end = end_fetch };
	f->subject.box = s->box;
	f->subject.message = &f->message;
	return f;
}

enum verdict imap_start_changes(struct imap_session *s, struct index_view *v,
    const struct imap_changes_ask *ask, struct imap_set *take_known)
{
	static const enum fetch_kind kinds[] = { FETCH_UID, FETCH_FLAGS, FETCH_MODSEQ };
	struct fetch_job *f = new_fetch(s);
	for (size_t i = s->box->uidonly ? 1 : 0; i < COUNT_OF(kinds); i++)
		f->req.v[f->req.n++] = (struct fetch_item){ .kind = kinds[i] };
	f->req.changed = f->req.vanished = true;
	f->req.since = ask->since;
	f->done = ask->done;
	f->needs_entry = true;
	f->set = *take_known;
	*take_known = (struct imap_set){ 0 };
	selected_walk_init(&f->walk, s->box, &f->set, true);
	read_changes(s, f, v, ask->known_vanished);
	return imap_start_job(s, &f->job);
}

/* ---- the command --------------------------------------------------------------------------------- */

static void check_modifiers(struct imap_session *s, const struct fetch_request *req)
{
	if (req->vanished && (!s->cmd.uid || (s->enabled & ENABLED_QRESYNC) == 0))
		imap_fail(&s->cmd.args, "VANISHED is for UID FETCH after ENABLE QRESYNC");
}

static void read_fetch(struct imap_session *s, struct fetch_job *f, struct imap_set *known)
{
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	imap_read_set(c, &f->set);
	imap_read_sp(c);
	fetch_parse(c, s->cmd.uid && !s->box->uidonly, &f->req);
	fetch_parse_modifiers(c, &f->req);
	imap_read_end(c);
	check_modifiers(s, &f->req);
	if (!imap_ok(c))
		return;
	if (f->req.vanished)
		copy_known(&f->set, known);
	selected_resolve(s->box, &f->set, s->cmd.uid);
	if (!s->cmd.uid && f->set.n > 0 && f->set.v[f->set.n - 1].last > s->box->told_n)
		imap_fail(c, "No such message");
}

enum verdict cmd_fetch(struct imap_session *s)
{
	struct fetch_job *f = new_fetch(s);
	struct imap_set known = { 0 };
	read_fetch(s, f, &known);
	bool ready = imap_ok(&s->cmd.args) && prepare_modseqs(s, f, &known);
	imap_set_end(&known);
	if (!ready) {
		end_fetch(&f->job);
		return imap_ok(&s->cmd.args) ? imap_finish_later(s)
					     : imap_finish_bad(s, s->cmd.args.why);
	}
	f->needs_entry = fetch_needs_entry(&f->req);
	selected_walk_init(&f->walk, s->box, &f->set, s->cmd.uid);
	if (fetch_sets_seen(&f->req) && !s->box->read_only && any_unseen(s->box, f))
		return set_seen(s, f);
	return imap_start_job(s, &f->job);
}
