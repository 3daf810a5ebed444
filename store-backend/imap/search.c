/* search.c - SEARCH and UID SEARCH (RFC 3501 section 6.4.4): a job that asks message after message.
 *
 * Before: session.c has framed the command. After: search_match.c and search_scan.c. Owns the keys and the
 * message in work; a view lives within one call of run_search(). */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"

#include "store-backend/imap/blob.h"
#include "store-backend/imap/search_lookup.h"
#include "store-backend/imap/search_sink.h"
#include "store-backend/imap/text_fill.h"

/* A turn ends when so much work is done: then other sessions have theirs. */
enum { TURN_COST = 2000, COST_FLAGS = 1, COST_ENTRY = 5, COST_SCAN = 100 };
enum { COST_BYTES = 256 }; /* so many that were read cost 1 */
enum { TEXT_HIGH = 16 * 1024 };

/* What was found so far. */
struct search_found {
	uint32_t count;
	uint32_t min, max; /* as the client names them */
	uint32_t min_uid, max_uid;
	size_t last;                             /* place of the last one */
	uint64_t modseq, min_modseq, max_modseq; /* modseq: of all */
	struct imap_set_writer all;              /* into the session's text */
	struct imap_set save;                    /* owned: uids */
	bool save_full;
};

struct search_job {
	struct imap_job job;
	struct search_request req; /* owned */
	size_t next;               /* message to be asked */
	struct index_view *view;   /* within one turn */
	/* the message in work */
	bool in_message;
	struct search_subject subject; /* owned: its message */
	struct blob blob;
	struct search_node *scanned;  /* NULL: no scan is in work */
	struct search_lookup *lookup; /* owned; NULL: text indexes are not wanted here */
	uint32_t read;                /* messages that an index might have spared */
	struct search_scan scan;      /* owned */
	/* for the reply */
	bool expunged, unreadable;
	struct search_sink *sink; /* owned; NULL: the answer is of numbers */
	bool found_all;           /* the sink tells what it has */
	bool too_many;
	unsigned results; /* enum search_result; 0: a SEARCH line of before RFC 4731 */
	struct search_found found;
};

static struct search_job *search_job_of(struct imap_job *job)
{
	return LIST_OF(struct search_job, job, job);
}

static void end_search(struct imap_job *job)
{
	struct search_job *j = search_job_of(job);
	search_scan_end(&j->scan);
	search_lookup_free(&j->lookup);
	message_end(&j->subject.message);
	search_end(&j->req);
	if (j->sink != NULL)
		j->sink->end(j->sink);
	imap_set_end(&j->found.save);
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

/* The uids between two neighbours belong to no message and never will. */
static void save_uid(struct search_job *j, uint32_t uid)
{
	struct imap_set *save = &j->found.save;
	bool neighbour = save->n > 0 && j->found.last + 1 == j->subject.at;
	if (neighbour)
		save->v[save->n - 1].last = uid;
	else if (!imap_set_add(save, uid, uid))
		j->found.save_full = true;
}

static void put_found(struct imap_session *s, struct search_job *j, uint32_t name)
{
	if (j->results == 0)
		imap_say(s, " %u", name);
	if ((j->results & RESULT_ALL) == 0)
		return;
	if (!j->found.all.any)
		imap_say(s, " ALL ");
	imap_set_write(&j->found.all, name, name);
}

static bool saves_each(const struct search_job *j)
{
	return (j->results & RESULT_SAVE) != 0 &&
	       ((j->results & RESULT_EACH) != 0 || (j->results & (RESULT_MIN | RESULT_MAX)) == 0);
}

static void note_found(struct imap_session *s, struct search_job *j)
{
	struct search_found *f = &j->found;
	uint32_t uid = s->box->v[j->subject.at].uid;
	uint32_t name = s->cmd.uid ? uid : (uint32_t)(j->subject.at + 1);
	uint64_t modseq = j->req.modseq ? j->subject.entry.modseq : 0;
	f->modseq = modseq > f->modseq ? modseq : f->modseq;
	if (j->sink != NULL) {
		j->too_many = !j->sink->found(j->sink, &j->subject, name);
		return;
	}
	put_found(s, j, name);
	if (saves_each(j))
		save_uid(j, uid);
	if (f->count++ == 0) {
		f->min = name;
		f->min_uid = uid;
		f->min_modseq = modseq;
	}
	f->max = name;
	f->max_uid = uid;
	f->max_modseq = modseq;
	f->last = j->subject.at;
	if (j->results == RESULT_MIN)
		j->next = s->box->told_n; /* no other will be the first */
}

static void end_message(struct imap_session *s, struct search_job *j, bool matches)
{
	if (matches)
		note_found(s, j);
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
	if (j->req.emailid)
		of->object = index_object(j->view, of->entry.blob);
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

/* False: the message is known not to have the text. */
static bool is_worth_reading(struct imap_session *s, struct search_job *j)
{
	uint32_t uid = s->box->v[j->subject.at].uid;
	if (j->lookup == NULL || !search_lookup_knows(j->scanned))
		return true;
	if (!search_lookup_may(j->lookup, j->scanned, uid)) {
		metric_add(&store_metrics[STORE_M_SEARCH_SPARED], 1);
		return false;
	}
	j->read++;
	return true;
}

static void begin_scan(struct imap_session *s, struct search_job *j)
{
	if (is_worth_reading(s, j)) {
		search_scan_begin(&j->scan, j->scanned);
		return;
	}
	j->scanned->learned = ANSWER_NO;
	j->scanned = NULL;
}

/* Answers what it has cost. */
static unsigned ask_message(struct imap_session *s, struct search_job *j)
{
	enum search_answer a = search_match(&j->req, &j->subject, &j->scanned);
	bool told = a != ANSWER_YES || j->subject.has_entry || (!j->req.modseq && j->sink == NULL);
	if (a != ANSWER_UNKNOWN && told) {
		end_message(s, j, a == ANSWER_YES && j->subject.message.err == ERR_OK);
		return COST_FLAGS;
	}
	if (j->scanned != NULL) {
		begin_scan(s, j);
		return COST_FLAGS;
	}
	if (!load_entry(s, j)) {
		j->expunged = true;
		end_message(s, j, false);
	}
	return COST_ENTRY;
}

/* ---- the job ------------------------------------------------------------------------------------- */

/* RFC 4731 section 3.2: of those that are told. */
static uint64_t told_modseq(const struct search_job *j)
{
	const struct search_found *f = &j->found;
	uint64_t min = (j->results & RESULT_MIN) != 0 ? f->min_modseq : 0;
	uint64_t max = (j->results & RESULT_MAX) != 0 ? f->max_modseq : 0;
	if (j->sink != NULL && !j->sink->modseq)
		return 0;
	if ((j->results & RESULT_EACH) != 0 || j->results == 0)
		return f->modseq;
	return min > max ? min : max;
}

/* The rest of the line. */
static void put_results(struct imap_session *s, struct search_job *j)
{
	const struct search_found *f = &j->found;
	uint64_t modseq = told_modseq(j);
	if (j->results == RESULT_SAVE)
		return;
	imap_set_write_end(&j->found.all);
	if ((j->results & RESULT_COUNT) != 0)
		imap_say(s, " COUNT %u", f->count);
	if ((j->results & RESULT_MIN) != 0 && f->count > 0)
		imap_say(s, " MIN %u", f->min);
	if ((j->results & RESULT_MAX) != 0 && f->count > 0)
		imap_say(s, " MAX %u", f->max);
	if (modseq > 0)
		imap_say(s, j->results == 0 ? " (MODSEQ %llu)" : " MODSEQ %llu",
		    (unsigned long long)modseq);
	imap_say(s, "\r\n");
}

/* "$" from now on; false: it is nothing, because it would be too long. */
static bool save_found(struct imap_session *s, struct search_job *j)
{
	struct search_found *f = &j->found;
	if ((j->results & RESULT_SAVE) == 0)
		return true;
	if (!saves_each(j) && f->count > 0) {
		if ((j->results & RESULT_MIN) != 0)
			(void)imap_set_add(&f->save, f->min_uid, f->min_uid);
		if ((j->results & RESULT_MAX) != 0 && (f->max_uid != f->min_uid || f->save.n == 0))
			(void)imap_set_add(&f->save, f->max_uid, f->max_uid);
	}
	imap_set_end(&s->box->saved);
	if (f->save_full)
		return false;
	s->box->saved = f->save;
	f->save = (struct imap_set){ 0 };
	return true;
}

/* The next search in this mailbox shall have less to read. */
static void want_index(struct imap_session *s, const struct search_job *j)
{
	if (j->lookup != NULL && j->read >= (uint32_t)s->opts->text_index_from)
		text_fill_want(s->partition->text_fill, s->box->id, s->box->uidvalidity);
}

static enum verdict finish_search(struct imap_session *s, struct search_job *j)
{
	want_index(s, j);
	put_results(s, j);
	if (j->too_many)
		return imap_finish(s, "NO", "[LIMIT] Too many messages at once");
	if (!save_found(s, j))
		return imap_finish(s, "NO", "[NOTSAVED] Too many ranges");
	if (j->unreadable)
		return imap_finish(s, "OK", "Completed, but some messages cannot be read now");
	if (j->expunged && !s->cmd.uid)
		return imap_finish_expunged(s);
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
		if (!j->in_message && (j->next >= s->box->told_n || j->too_many)) {
			j->found_all = true;
			return j->sink == NULL || j->too_many ? finish_search(s, j) : V_NEXT;
		}
		cost += one_step(s, j);
	}
	return imap_yield(s);
}

/* A search that fails saves nothing (RFC 5182 section 2.1). */
static enum verdict fail_search(struct imap_session *s, const struct search_job *j, enum verdict v)
{
	if ((j->results & RESULT_SAVE) != 0)
		imap_set_end(&s->box->saved);
	return v;
}

static enum verdict tell_sink(struct imap_session *s, struct search_job *j)
{
	bool done = false;
	if (!imap_flush(s))
		return V_WAIT;
	enum verdict v = j->sink->tell(s, j->sink, &done);
	return done ? finish_search(s, j) : v;
}

static enum verdict run_search(struct imap_session *s, struct imap_job *job)
{
	struct search_job *j = search_job_of(job);
	s->active_ms =
	    loop_now_ms(store_worker_loop(s->base.worker)); /* it works, it is not idle */
	if (j->found_all)
		return tell_sink(s, j);
	j->view = index_view_begin(s->partition->index);
	if (j->view == NULL) {
		if (j->results != RESULT_SAVE)
			imap_say(s, "\r\n"); /* the line that was begun */
		return fail_search(s, j, imap_finish_later(s));
	}
	if (j->subject.has_entry && j->in_message)
		message_set_cache(&j->subject.message, index_cache(j->view, j->subject.entry.blob));
	enum verdict v = one_turn(s, j);
	message_rest(&j->subject.message);
	index_view_end(&j->view);
	return v;
}

static void check_numbers(struct imap_session *s, const struct search_job *j)
{
	if (s->box->uidonly && search_has_numbers(&j->req))
		imap_fail(
		    &s->cmd.args, "[UIDREQUIRED] Messages have no numbers after ENABLE UIDONLY");
}

static enum verdict refuse_search(struct imap_session *s, struct search_job *j)
{
	enum verdict v = imap_ok(&s->cmd.args)
			     ? fail_search(s, j,
				   imap_finish(s, "NO",
				       "[BADCHARSET (US-ASCII UTF-8)] Charset is not supported"))
			     : imap_finish_bad(s, s->cmd.args.why);
	end_search(&j->job);
	return v;
}

static void prepare(struct imap_session *s, struct search_job *j)
{
	const struct text_index_key key = { s->partition->path, s->box->id, s->box->uidvalidity };
	search_resolve(&j->req, s->box);
	if (s->opts->text_index)
		j->lookup = search_lookup_new(&key);
	j->req.now_s = (int64_t)(clock_wall_us() / 1000000);
	if (j->req.modseq)
		imap_enable(s, ENABLED_CONDSTORE);
}

static void tell_progress(const struct imap_job *job, uint64_t *done_out, uint64_t *goal_out)
{
	const struct search_job *j =
	    (const struct search_job *)(const void *)job; /* its first member */
	*done_out = j->next;
	*goal_out = j->subject.box->told_n;
}

static struct search_job *new_search(struct imap_session *s)
{
	struct search_job *j = MEM_NEW(struct search_job);
	j->job = (struct imap_job){ run_search, end_search, tell_progress };
	j->subject.box = s->box;
	return j;
}

enum verdict imap_start_search(struct imap_session *s, struct search_sink *take_sink)
{
	struct search_job *j = new_search(s);
	struct imap_cursor *c = &s->cmd.args;
	j->sink = take_sink;
	struct span charset = imap_read_astring(c);
	imap_read_sp(c);
	search_parse_in(c, charset, &j->req);
	if (!j->req.bad_charset)
		imap_read_end(c);
	check_numbers(s, j);
	if (!imap_ok(c) || j->req.bad_charset)
		return refuse_search(s, j);
	prepare(s, j);
	imap_say(s, "* %s", s->cmd.row->name);
	return imap_start_job(s, &j->job);
}

enum verdict cmd_search(struct imap_session *s)
{
	struct search_job *j = new_search(s);
	struct imap_cursor *c = &s->cmd.args;
	imap_read_sp(c);
	j->results = search_parse_return(c);
	if (j->results == 0 && (s->enabled & ENABLED_REV2) != 0)
		j->results = RESULT_ALL;
	j->found.all.out = &s->text;
	search_parse(c, &j->req);
	if (j->req.charset_said && (s->enabled & ENABLED_UTF8) != 0)
		imap_fail(c, "No CHARSET after ENABLE UTF8=ACCEPT");
	if (!j->req.bad_charset)
		imap_read_end(c);
	check_numbers(s, j);
	if (!imap_ok(c) || j->req.bad_charset)
		return refuse_search(s, j);
	prepare(s, j);
	if (j->results == 0)
		imap_say(s, "* SEARCH");
	else if (j->results != RESULT_SAVE)
		imap_say(s, "* ESEARCH (TAG \"%.*s\")%s", SPAN_ARG(s->cmd.tag),
		    s->cmd.uid ? " UID" : "");
	return imap_start_job(s, &j->job);
}
