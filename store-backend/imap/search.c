/* search.c - SEARCH and UID SEARCH (RFC 3501 section 6.4.4): a job that asks message after message.
 *
 * Before: session.c has framed the command. After: search_match.c and search_scan.c. Owns the keys and the
 * message in work; a view lives within one call of run_search(). */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/blob.h"
#include "store-backend/imap/search.h"
#include "store-backend/imap/session.h"

/* A turn ends when so much work is done: then other sessions have theirs. */
enum { TURN_COST = 2000, COST_FLAGS = 1, COST_ENTRY = 5, COST_SCAN = 100 };
enum { COST_BYTES = 256 }; /* so many that were read cost 1 */
enum { TEXT_HIGH = 16 * 1024 };

struct search_job {
	struct imap_job job;
	struct search_request req; /* owned */
	size_t next;               /* message to be asked */
	struct index_view *view;   /* within one turn */
	/* the message in work */
	bool in_message;
	struct search_subject subject; /* owned: its message */
	struct blob blob;
	struct search_node *scanned; /* NULL: no scan is in work */
	struct search_scan scan;     /* owned */
	/* for the reply */
	bool expunged, unreadable;
	uint64_t modseq; /* the highest of what was found */
};

static struct search_job *search_job_of(struct imap_job *job)
{
	return LIST_OF(struct search_job, job, job);
}

static void end_search(struct imap_job *job)
{
	struct search_job *j = search_job_of(job);
	search_scan_end(&j->scan);
	message_end(&j->subject.message);
	search_end(&j->req);
	mem_free(j);
}

/* ---- one message --------------------------------------------------------------------------------- */

static void begin_message(struct search_job *j)
{
	j->in_message = true;
	j->subject.at = j->next++;
	j->subject.has_entry = false;
	search_forget(&j->req);
}

static void end_message(struct imap_session *s, struct search_job *j, bool matches)
{
	const struct selected_message *m = &s->box->v[j->subject.at];
	if (matches) {
		imap_say(s, " %zu", s->cmd.uid ? (size_t)m->uid : j->subject.at + 1);
		if (j->req.modseq && j->subject.entry.modseq > j->modseq)
			j->modseq = j->subject.entry.modseq;
	}
	if (j->subject.message.err) {
		blob_note_unreadable(s, &j->subject.entry, j->subject.message.err);
		j->unreadable = true;
	}
	message_end(&j->subject.message);
	j->in_message = false;
}

/* False: it is gone. */
static bool load_entry(struct imap_session *s, struct search_job *j)
{
	struct search_subject *of = &j->subject;
	if (!index_entry(j->view, s->box->id, s->box->v[of->at].uid, &of->entry))
		return false;
	blob_init(&j->blob, s->partition->reader, &of->entry);
	message_init(&of->message, &j->blob.bytes);
	message_set_cache(&of->message, index_cache(j->view, of->entry.blob));
	of->has_entry = true;
	return true;
}

/* One step of the scan in work. */
static unsigned scan_some(struct search_job *j)
{
	j->scanned->learned = search_scan_step(&j->scan, &j->subject.message);
	if (j->scanned->learned != ANSWER_UNKNOWN) {
		search_scan_end(&j->scan);
		j->scanned = NULL;
	}
	return COST_SCAN;
}

/* Answers what it has cost. */
static unsigned ask_message(struct imap_session *s, struct search_job *j)
{
	enum search_answer a = search_match(&j->req, &j->subject, &j->scanned);
	bool told = a != ANSWER_YES || !j->req.modseq || j->subject.has_entry;
	if (a != ANSWER_UNKNOWN && told) {
		end_message(s, j, a == ANSWER_YES && j->subject.message.err == ERR_OK);
		return COST_FLAGS;
	}
	if (j->scanned != NULL) {
		search_scan_begin(&j->scan, j->scanned);
		return COST_FLAGS;
	}
	if (!load_entry(s, j)) {
		j->expunged = true;
		end_message(s, j, false);
	}
	return COST_ENTRY;
}

/* ---- the job ------------------------------------------------------------------------------------- */

static enum verdict finish_search(struct imap_session *s, const struct search_job *j)
{
	if (j->modseq > 0)
		imap_say(s, " (MODSEQ %llu)", (unsigned long long)j->modseq);
	imap_say(s, "\r\n");
	if (j->unreadable)
		return imap_finish(
		    s, "OK", "SEARCH completed, but some messages cannot be read now");
	if (j->expunged && !s->cmd.uid)
		return imap_finish(
		    s, "OK", "[EXPUNGEISSUED] Some messages have been expunged meanwhile");
	return imap_finish_done(s);
}

static unsigned one_step(struct imap_session *s, struct search_job *j)
{
	unsigned cost = COST_FLAGS;
	if (!j->in_message && (s->box->v[j->next].bits & MARK_GONE) != 0) {
		j->expunged = true;
		j->next++;
	} else if (!j->in_message) {
		begin_message(j);
	} else if (j->scanned != NULL) {
		cost = scan_some(j);
	} else {
		cost = ask_message(s, j);
	}
	cost += (unsigned)(j->blob.taken / COST_BYTES);
	j->blob.taken = 0;
	return cost;
}

static enum verdict one_turn(struct imap_session *s, struct search_job *j)
{
	for (unsigned cost = 0; cost < TURN_COST;) {
		if (buf_len(&s->text) > TEXT_HIGH && !imap_flush(s))
			return V_WAIT;
		if (!j->in_message && j->next >= s->box->told_n)
			return finish_search(s, j);
		cost += one_step(s, j);
	}
	return imap_yield(s);
}

static enum verdict run_search(struct imap_session *s, struct imap_job *job)
{
	struct search_job *j = search_job_of(job);
	j->view = index_view_begin(s->partition->index);
	if (j->view == NULL) {
		imap_say(s, "\r\n"); /* the line that was begun */
		return imap_finish_later(s);
	}
	if (j->subject.has_entry && j->in_message)
		message_set_cache(&j->subject.message, index_cache(j->view, j->subject.entry.blob));
	s->active_ms =
	    loop_now_ms(store_worker_loop(s->base.worker)); /* it works, it is not idle */
	enum verdict v = one_turn(s, j);
	message_rest(&j->subject.message);
	index_view_end(&j->view);
	return v;
}

enum verdict cmd_search(struct imap_session *s)
{
	struct search_job *j = MEM_NEW(struct search_job);
	struct imap_cursor *c = &s->cmd.args;
	j->job = (struct imap_job){ run_search, end_search };
	j->subject.box = s->box;
	imap_read_sp(c);
	search_parse(c, &j->req);
	if (!j->req.bad_charset)
		imap_read_end(c);
	if (!imap_ok(c) || j->req.bad_charset) {
		bool bad_charset = imap_ok(c);
		end_search(&j->job);
		return bad_charset ? imap_finish(s, "NO",
					 "[BADCHARSET (US-ASCII UTF-8)] Charset is not supported")
				   : imap_finish_bad(s, c->why);
	}
	search_resolve(&j->req, s->box);
	if (j->req.modseq)
		imap_enable(s, ENABLED_CONDSTORE);
	imap_say(s, "* SEARCH");
	return imap_start_job(s, &j->job);
}
