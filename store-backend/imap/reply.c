/* reply.c - what the client is told: untagged text, the news of the mailbox, the tagged line, in that order;
 * see session.h.
 *
 * Before: the handlers. After: the stream. The states here are left when everything has gone out. */
#include <stdarg.h>

#include "base/check.h"
#include "base/clock.h"
#include "store-backend/imap/notify.h"
#include "store-backend/imap/session_parts.h"

/* ---- for handlers -------------------------------------------------------------------------------- */

void imap_say(struct imap_session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&s->text, fmt, ap);
	va_end(ap);
}

bool imap_has_room(const struct imap_session *s)
{
	return stream_space(s->io) > IMAP_OUT_RESERVE;
}

bool imap_flush(struct imap_session *s)
{
	size_t space = stream_space(s->io);
	size_t room = space > IMAP_OUT_RESERVE ? space - IMAP_OUT_RESERVE : 0;
	struct span part = span_first(buf_span(&s->text), room);
	if (part.n > 0) {
		s->mid_line = part.p[part.n - 1] != '\n';
		if (stream_write_span(s->io, part))
			buf_eat(&s->text, part.n);
	}
	return buf_len(&s->text) == 0;
}

static enum verdict finish(struct imap_session *s, const char *word, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static enum verdict finish(struct imap_session *s, const char *word, const char *fmt, va_list ap)
{
	if (s->cmd.tag.n > 0)
		buf_printf(&s->reply, "%.*s %s ", SPAN_ARG(s->cmd.tag), word);
	else
		buf_printf(&s->reply, "* %s ", word);
	buf_vprintf(&s->reply, fmt, ap);
	buf_add_str(&s->reply, "\r\n");
	CHECK(buf_ok(&s->reply));
	imap_set_state(s, ST_FINISH);
	return V_NEXT;
}

enum verdict imap_finishf(struct imap_session *s, const char *word, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	enum verdict v = finish(s, word, fmt, ap);
	va_end(ap);
	return v;
}

enum verdict imap_finish(struct imap_session *s, const char *word, const char *what)
{
	return imap_finishf(s, word, "%s", what);
}

enum verdict imap_finish_done(struct imap_session *s)
{
	s->errors = 0; /* it takes many in a row to be sent away */
	return imap_finishf(s, "OK", "%s completed", s->cmd.row->name);
}

enum verdict imap_finish_bad(struct imap_session *s, const char *why)
{
	s->errors++;
	return imap_finish(s, "BAD", why == NULL ? "Syntax error" : why);
}

enum verdict imap_finish_later(struct imap_session *s)
{
	return imap_finishf(
	    s, "NO", "[UNAVAILABLE] The store is away, try again later (%s)", s->base.id.s);
}

enum verdict imap_finish_read_only(struct imap_session *s)
{
	return imap_finish(s, "NO", "[NOPERM] The mailbox is open for reading only");
}

enum verdict imap_finish_expunged(struct imap_session *s)
{
	return imap_finish(s, "OK", "[EXPUNGEISSUED] Some messages have been expunged meanwhile");
}

enum verdict imap_finish_result(struct imap_session *s, enum operation_result r)
{
	static const char *const words[OPR_COUNT] = {
		[OPR_NO_USER] = "[SERVERBUG] No such user",
		[OPR_NO_MAILBOX] = "[NONEXISTENT] No such mailbox",
		[OPR_NO_TARGET] = "[TRYCREATE] No such mailbox",
		[OPR_EXISTS] = "[ALREADYEXISTS] The mailbox exists already",
		[OPR_BAD_NAME] = "[CANNOT] Bad name",
		[OPR_DENIED] = "[NOPERM] This cannot be done",
		[OPR_OVER_QUOTA] = "[OVERQUOTA] Quota exceeded",
		[OPR_TOO_MANY] = "[LIMIT] Too many mailboxes, keywords or messages",
		[OPR_TOO_BIG] = "[TOOBIG] Message too large",
		[OPR_AWAY] = "[UNAVAILABLE] The mailbox is moving, log in again soon",
		[OPR_MENDING] = "[UNAVAILABLE] The mailbox is being repaired, try again soon",
	};
	if (r == OPR_LATER || words[r] == NULL)
		return imap_finish_later(s);
	return imap_finish(s, "NO", words[r]);
}

enum verdict imap_bye(struct imap_session *s, const char *why, const char *what)
{
	if (s->why == NULL)
		s->why = why;
	stream_printf(s->io, "* BYE %s (%s)\r\n", what, s->base.id.s);
	return V_CLOSE;
}

enum verdict imap_bye_drained(struct imap_session *s)
{
	return imap_bye(s, "drain", "[UNAVAILABLE] Server is shutting down, come back");
}

/* ---- progress (RFC 9585) ------------------------------------------------------------------------------- */

/* One timer for all commands that come while it runs: a short one costs nothing. */
void imap_watch_progress(struct imap_session *s)
{
	if (s->progress_of != 0 || s->user == NULL)
		return;
	s->progress_of = s->commands;
	timer_set(&s->progress, s->opts->imap_progress_every);
}

/* In front of an answer of which nothing has left. */
static void say_progress(struct imap_session *s)
{
	uint64_t done = 0, goal = 0;
	bool known = s->state == ST_JOB && s->job->progress != NULL;
	if (s->mid_line || !imap_has_room(s) || (s->state == ST_JOB && !known))
		return;
	if (known)
		s->job->progress(s->job, &done, &goal);
	stream_printf(s->io, "* OK [INPROGRESS (\"%.*s\" ", SPAN_ARG(s->cmd.tag));
	if (goal > 0)
		stream_printf(
		    s->io, "%llu %llu", (unsigned long long)done, (unsigned long long)goal);
	else
		stream_write_span(s->io, SPAN("NIL NIL"));
	stream_write_span(s->io, SPAN(")] Still at work\r\n"));
}

void imap_on_progress(void *arg)
{
	struct imap_session *s = OBJ(imap_session, arg);
	uint64_t of = s->progress_of;
	bool works = s->cmd.row != NULL && (s->state == ST_WAIT || s->state == ST_JOB);
	s->progress_of = 0;
	if (!works)
		return;
	if (of == s->commands)
		say_progress(s);
	imap_watch_progress(s);
}

/* ---- news ------------------------------------------------------------------------------------------ */

/* Somebody puts the mailbox right, or has: messages may be where the client's numbers have no place for them. It was told
 * as gone (index_mend.c), and is not. */
static bool is_mended(struct imap_session *s, struct index_view *v)
{
	struct index_mailbox m;
	return (s->box->deleted && index_mailbox_get(v, s->box->id, &m)) ||
	       (s->box->stale && index_mending(v, s->box->id, clock_wall_us() / 1000000));
}

/* v NULL: the index cannot be read now, and what needs it is told later. */
static enum verdict tell_news_in(struct imap_session *s, struct index_view *v)
{
	bool refresh = s->box->stale && s->box->report == REPORT_START;
	if (v != NULL && is_mended(s, v))
		return imap_bye(s, "mailbox-mended",
		    "[UNAVAILABLE] The selected mailbox is being repaired, log in again soon");
	if (refresh && v != NULL && !selected_refresh(s->box, v))
		return imap_bye(s, "mailbox-deleted", "The selected mailbox was deleted");
	while (!selected_report(s->box, v, s->news == NEWS_ALL, &s->text)) {
		if (!imap_flush(s))
			return V_WAIT;
	}
	return imap_flush(s) ? V_NEXT : V_WAIT;
}

/* Tells what is new in the mailbox. V_NEXT: everything is told and has left. */
static enum verdict tell_news(struct imap_session *s)
{
	if (!imap_flush(s))
		return V_WAIT;
	if (s->box == NULL || s->news == NEWS_NONE)
		return imap_notify_tell(s);
	struct index_view *v = s->box->stale || s->box->deleted || s->box->dirty > 0
				   ? index_view_begin(s->box_in->index)
				   : NULL;
	enum verdict told = tell_news_in(s, v);
	index_view_end(&v);
	return told == V_NEXT ? imap_notify_tell(s) : told;
}

enum verdict imap_tell_between(struct imap_session *s)
{
	s->news = imap_notify_selected(s);
	if (s->box != NULL)
		s->box->hold_flags = !imap_notify_flags(s);
	enum verdict v = tell_news(s);
	if (s->box != NULL)
		s->box->hold_flags = false;
	s->news = NEWS_NONE;
	return v;
}

enum verdict imap_go_idle(struct imap_session *s)
{
	enum verdict v = tell_news(s);
	if (v != V_NEXT)
		return v;
	if (s->base.draining)
		return imap_bye_drained(s);
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	v = imap_take_line(s, &line);
	bool done = span_ieq_str(buf_span(&line), "DONE");
	buf_end(&line);
	if (v != V_NEXT)
		return v;
	return done ? imap_finish_done(s) : imap_finish_bad(s, "DONE expected");
}

enum verdict imap_go_finish(struct imap_session *s)
{
	enum verdict v = tell_news(s);
	if (v != V_NEXT)
		return v;
	if (!buf_ok(&s->text))
		return imap_bye(s, "answer-too-long", "The answer is too long");
	if (buf_len(&s->reply) > 0) {
		buf_add_span(&s->text, buf_span(&s->reply));
		buf_end(&s->reply);
		s->news = NEWS_NONE; /* nothing comes behind the tagged line */
	}
	if (!imap_flush(s))
		return V_WAIT;
	buf_end(&s->text);
	imap_end_command(s);
	s->news = NEWS_NONE;
	if (s->errors >= IMAP_ERRORS_MAX)
		return imap_bye(s, "too-many-errors", "Too many bad commands");
	if (s->login_failures >= IMAP_LOGIN_FAILURES_MAX)
		return imap_bye(s, "too-many-failures", "Too many failed logins");
	imap_set_state(s, ST_COMMAND);
	/* others come first: a client may have sent thousands of commands at once */
	return stream_input(s->io).n == 0 ? V_NEXT : imap_yield(s);
}
