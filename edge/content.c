/* content.c - DATA and what comes of it (step 4 of 6; before: envelope.c; after: commit.c).
 *
 * Only CR LF . CR LF ends the data. What is wrong with a message is noted, the rest is swallowed to
 * its true end, and it is refused there: in the middle a refusal would be taken for another answer. The
 * 250 comes from commit alone. */
#include "edge/content.h"

#include "base/check.h"
#include "proto/header.h"
#include "proto/priority.h"
#include "proto/mime_binary.h"
#include "proto/tls_required.h"

#include "edge/added.h"
#include "edge/envelope.h"
#include "edge/filter.h"
#include "edge/limit.h"
#include "edge/mail.h"
#include "edge/parts.h"
#include "edge/passed.h"
#include "edge/policy_step.h"
#include "edge/recipient.h"
#include "edge/screen.h"
#include "edge/sender.h"
#include "edge/trace.h"

enum {
	BLOCK = 4096,             /* data_timeout runs for each so many bytes */
	HEADER_LOOK = 256 * 1024, /* looked through for loops and missing fields */
	TRACE_MAX = 8192 + MAIL_PREPEND_MAX,
	TARPIT_MAX_MS = 60000,
};

/* ---- the end of a mail ------------------------------------------------------------------------ */

/* Whose rule or filter it was, or NULL. */
static enum verdict refuse_by(
    struct session *s, unsigned code, const char *enhanced, const char *text, const char *rule)
{
	const struct transaction *t = s->mail->t;
	bool later = code < 500;
	metric_add(&edge_metrics[later ? EDGE_M_MESSAGES_LATER : EDGE_M_MESSAGES_REFUSED], 1);
	log_write(&edge_events[EDGE_EV_MESSAGE_REFUSED], t->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("session", s->id.s),
		LOG_STR("user", s->user), LOG_STR("sender", t->sender),
		LOG_U64("recipients", t->recipient_count), LOG_U64("bytes", s->mail->decoder.taken),
		LOG_U64("code", code), LOG_STR("why", text), LOG_STR("rule", rule),
		LOG_STR("origin", s->mail->origin)));
	session_notef(s, "answer", "%u %s%s%s", code, text, rule != NULL ? " by " : "",
	    rule != NULL ? rule : "");
	session_enter(s, ST_COMMAND);
	enum verdict v = session_refuse_quietly(s, code, enhanced, text);
	mail_end(s);
	return v;
}

static enum verdict refuse(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	return refuse_by(s, code, enhanced, text, NULL);
}

/* ---- commit ----------------------------------------------------------------------------------- */

static enum verdict committed(struct session *s)
{
	struct transaction *t = s->mail->t;
	struct outcome o = { 0 };
	commit_reply(t, &o);
	log_write(&edge_events[EDGE_EV_MESSAGE_RECEIVED], t->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("session", s->id.s),
		LOG_STR("user", s->user), LOG_STR("sender", t->sender),
		LOG_U64("recipients", t->recipient_count), LOG_U64("bytes", body_size(t->body)),
		LOG_STR("tags", limit_tags(s)), LOG_U64("code", o.code),
		LOG_U64("ms", session_now_ms(s) - s->mail->begun_ms),
		LOG_STR("origin", s->mail->origin)));
	bool ok = o.code < 300, later = !ok && o.code < 500;
	metric_add(&edge_metrics[ok      ? EDGE_M_MESSAGES
				 : later ? EDGE_M_MESSAGES_LATER
					 : EDGE_M_MESSAGES_REFUSED],
	    1);
	session_notef(s, "answer", "%u %s", o.code, o.text);
	session_say(s, o.code, o.enhanced, o.text);
	mail_end(s);
	session_enter(s, ST_COMMAND);
	if (ok) {
		s->messages++;
		s->errors = 0;
		passed_keep(s);
	}
	return V_READ;
}

static void on_commit(void *arg)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, committed(s));
}

static enum verdict commit(struct session *s)
{
	const struct parts_opts opts = { .loop = s->edge->loop,
		.committer = s->edge->committer,
		.directory = s->edge->directory,
		.edge = s->setup->edge,
		.srs = &s->setup->srs };
	s->mail->t->aligned = sender_is_aligned(s);
	s->mail->t->disowned = sender_is_disowned(s);
	session_enter(s, ST_COMMIT);
	s->ask = parts_commit(&opts, s->mail->t, on_commit, s);
	return V_WAIT;
}

/* ---- our lines in front of it ------------------------------------------------------------------ */

/* Hosts of our own may have looked at the mail in our name. */
static bool is_ours(const struct session *s)
{
	return s->listener->role == EDGE_INTERNAL ||
	       ip_in_set(s->from.addr, &s->listener->relay_from) || s->relay_cert;
}

/* Nobody else speaks in our name. *start is the message's beginning, before and after. */
static err_t strip_forged(struct session *s, struct span *start)
{
	const struct trace_forged what = { .hostname = is_ours(s) ? NULL : s->setup->hostname,
		.marks = !ip_in_set(s->from.addr, &s->listener->tags_from) };
	struct buf kept = BUF_INIT(HEADER_LOOK);
	size_t bytes;
	err_t err = ERR_OK;
	if (trace_strip_forged(*start, &what, &kept, &bytes)) {
		session_note(s, "forged", SPAN("header fields in our name are taken out"));
		err = body_set_head(s->mail->t->body, bytes, buf_span(&kept));
		if (err == ERR_OK)
			*start = body_read(s->mail->t->body, 0, HEADER_LOOK, &err);
	}
	buf_end(&kept);
	return err;
}

/* Only after the limits: they may have marked it. The topmost line last. */
static err_t add_trace(struct session *s)
{
	struct body *b = s->mail->t->body;
	struct buf lines = BUF_INIT(TRACE_MAX);
	err_t err = ERR_OK;
	struct span start = body_read(b, 0, HEADER_LOOK, &err);
	if (err)
		return err;
	if ((err = strip_forged(s, &start)) != ERR_OK)
		return err;
	bool ok = sender_put_header(s, &lines) && trace_put_received(s, &lines) &&
		  screen_put_header(s, &lines) && limit_put_tags(s, &lines) &&
		  buf_add_span(&lines, buf_span(&s->mail->prepend));
	if (edge_is_submission(s->listener))
		ok = trace_put_missing(s, start, &lines) && ok;
	if (!trace_has_header(start)) /* else our lines would run into its text */
		ok = buf_add_str(&lines, "\r\n") && ok;
	err = ok ? body_prepend(b, buf_span(&lines)) : ERR_TOO_LONG;
	buf_end(&lines);
	return err;
}

/* ---- other recipients ------------------------------------------------------------------------- */

static void on_rerouted(void *arg, bool known)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	if (!known)
		session_step(s, refuse(s, 451, "4.3.0", "cannot look up the mailbox now"));
	else if (s->mail->t->recipient_count == 0)
		session_step(s, refuse(s, 451, "4.3.5", "it is redirected to nobody"));
	else
		session_step(s, commit(s));
}

/* Redirected, or copied, by a policy service: these recipients are looked up as those that filters add. */
static enum verdict reroute(struct session *s)
{
	struct mail *m = s->mail;
	struct added_opts opts = { .expand = recipient_expand_opts(s),
		.t = m->t,
		.addresses = (const char *const *)m->bcc.v,
		.n = m->bcc.n,
		.max = (size_t)s->setup->edge->recipients_max };
	if (m->redirect == NULL && m->bcc.n == 0)
		return commit(s);
	if (m->redirect != NULL) {
		transaction_remove_all(m->t);
		opts.addresses = (const char *const *)&m->redirect;
		opts.n = 1;
	}
	session_enter(s, ST_RECIPIENT);
	s->ask = added_start(&opts, on_rerouted, s);
	return V_WAIT;
}

/* ---- filters ---------------------------------------------------------------------------------- */

static enum verdict discard(struct session *s, const char *filter)
{
	const struct transaction *t = s->mail->t;
	struct buf text = BUF_INIT(REPLY_TEXT_SIZE);
	metric_add(&edge_metrics[EDGE_M_MESSAGES_DISCARDED], 1);
	log_write(&edge_events[EDGE_EV_MESSAGE_DISCARDED], t->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("session", s->id.s),
		LOG_STR("user", s->user), LOG_STR("sender", t->sender),
		LOG_U64("recipients", t->recipient_count), LOG_U64("bytes", body_size(t->body)),
		LOG_STR("filter", filter)));
	session_notef(s, "answer", "250 and thrown away by %s", filter);
	buf_printf(&text, "ok [%s]", t->id.s);
	session_say(s, 250, "2.0.0", buf_cstr(&text));
	buf_end(&text);
	mail_end(s);
	session_enter(s, ST_COMMAND);
	return V_READ;
}

enum verdict content_filtered(struct session *s, const struct filter_answer *a)
{
	if (a->verdict == MILTER_GO)
		return reroute(s);
	if (a->verdict == MILTER_DISCARD)
		return discard(s, a->filter);
	const struct milter_text *t = a->text;
	enum verdict v = refuse_by(s, t->code, t->enhanced, t->text, a->filter);
	return a->verdict == MILTER_CLOSE ? session_close(s, WHY_FILTERED, a->filter) : v;
}

static void on_filtered(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, content_filtered(s, a));
}

enum verdict content_filter(struct session *s)
{
	if (s->mail->t->recipient_count == 0) /* access rules discarded them all */
		return discard(s, "access");
	if (s->mail->discard_by != NULL)
		return discard(s, s->mail->discard_by);
	if (add_trace(s))
		return refuse(s, 451, "4.3.0", "the message could not be kept");
	if (s->filters == NULL)
		return reroute(s);
	session_enter(s, ST_FILTER);
	s->ask = filters_ask_message(s->filters, on_filtered);
	return s->ask != NULL ? V_WAIT : reroute(s);
}

/* ---- limits ----------------------------------------------------------------------------------- */

static enum verdict metered(struct session *s, const struct meter_answer *a)
{
	char text[LIMIT_TEXT_MAX];
	limit_note(s, "meter_message", a);
	envelope_limit_text(a, text);
	if (a->disconnect)
		return session_bye(s, WHY_LIMITED, a->rule);
	switch (a->action) {
	case METER_ALLOW:
		return content_filter(s);
	case METER_DELAY:
		session_hold(
		    s, ST_TARPIT, a->retry_ms < TARPIT_MAX_MS ? a->retry_ms : TARPIT_MAX_MS);
		return V_WAIT;
	case METER_DEFER:
		return refuse_by(s, 451, "4.7.1", text, a->rule);
	case METER_REFUSE:
		break;
	}
	return refuse_by(s, 550, "5.7.1", text, a->rule);
}

static void on_meter(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, metered(s, a));
}

static enum verdict ask_meter(struct session *s)
{
	struct meter_facts facts = envelope_facts(s);
	facts.recipients = s->mail->t->recipient_count;
	facts.bytes = s->mail->decoder.taken;
	session_enter(s, ST_METER);
	s->ask = meter_ask(s->edge->meter, METER_MESSAGE, &facts, on_meter, s);
	return s->ask != NULL ? V_WAIT : content_filter(s);
}

/* ---- the whole message ------------------------------------------------------------------------ */

static void on_end_policy(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? ask_meter(s) : content_filtered(s, a));
}

/* Addresses in the header, for clients of ours. A header that is larger than what is looked at stays as it is. */
static err_t rewrite_fields(struct session *s)
{
	struct body *b = s->mail->t->body;
	struct rewrite_facts f = envelope_rewrite_facts(s);
	struct buf head = BUF_INIT(BODY_HEAD_MAX / 2);
	err_t err = ERR_OK;
	if (!f.ours || !rewrite_wants(s->setup->rewrite, REWRITE_FROM | REWRITE_TO, &f))
		return ERR_OK;
	struct span start = body_read(b, 0, HEADER_LOOK, &err);
	size_t n = header_size(start);
	bool all = n < start.n || start.n == body_size(b);
	size_t changed =
	    all && !err ? rewrite_header(s->setup->rewrite, &f, span_first(start, n), &head) : 0;
	if (changed > 0) {
		err = body_set_head(b, n, buf_span(&head));
		session_notef(s, "rewrite", "%zu addresses of the header", changed);
	}
	buf_end(&head);
	return err;
}

/* How urgent the message is, where MAIL did not say. Strangers may say that it is not, never that it is. Size lowers it. */
static void set_priority(struct session *s, struct span start)
{
	const struct edge_conf *c = s->setup->edge;
	struct transaction *t = s->mail->t;
	if (!t->priority_said)
		t->priority = priority_of_header(span_first(start, header_size(start)));
	if (t->priority > 0 && !envelope_may_relay(s))
		t->priority = 0;
	if (t->priority > 0 && c->urgent_size_max != 0 && body_size(t->body) > c->urgent_size_max)
		t->priority = 0;
	if (t->priority == 0 && c->normal_size_max != 0 && body_size(t->body) > c->normal_size_max)
		t->priority = PRIORITY_HEADER_LOW;
}

/* REQUIRETLS stands above what the header says (RFC 8689 section 4.1). */
static void set_tls_optional(struct transaction *t, struct span start)
{
	struct span header = span_first(start, header_size(start));
	t->tls_optional = !t->require_tls && tls_required_is_no(header);
}

static enum verdict whole(struct session *s)
{
	struct mail *m = s->mail;
	err_t err = ERR_OK;
	if (rewrite_fields(s))
		return refuse(s, 451, "4.3.0", "the message could not be kept");
	struct span start = body_read(m->t->body, 0, HEADER_LOOK, &err);
	if (err)
		return refuse(s, 451, "4.3.0", "the message could not be kept");
	if (!trace_sees_header(start, body_size(m->t->body)))
		return refuse(s, 552, "5.3.4", "the header section is too large");
	if (trace_hops(start) >= (size_t)s->setup->edge->hops_max)
		return refuse(s, 554, "5.4.6", "the message goes round in a loop");
	set_priority(s, start);
	set_tls_optional(m->t, start);
	session_enter(s, ST_POLICY);
	s->ask = m->t->recipient_count == 0 ? NULL : policy_step(s, POLICY_AT_END, on_end_policy);
	return s->ask != NULL ? V_WAIT : ask_meter(s);
}

enum verdict content_ended(struct session *s)
{
	const struct mail *m = s->mail;
	metric_add(&edge_metrics[EDGE_M_BYTES_IN], m->decoder.taken);
	const char *stuck = m->binary != NULL ? mime_binary_why(m->binary) : NULL;
	if (stuck != NULL)
		return refuse(s, 554, "5.6.1", stuck);
	if (m->decoder.faults & (SMTP_BODY_BARE_CR | SMTP_BODY_BARE_LF | SMTP_BODY_NUL))
		return refuse(s, 550, "5.6.0", "the message holds a NUL, a bare CR or a bare LF");
	if (m->decoder.faults & SMTP_BODY_LONG_LINE)
		return refuse(s, 550, "5.6.0", "the message holds a line that is too long");
	if (m->err == ERR_TOO_LONG)
		return refuse(s, 552, "5.3.4", "message is too big");
	if (m->err != ERR_OK)
		return refuse(s, 452, "4.3.1", "no room for the message now");
	if (m->decoder.faults & SMTP_BODY_8BIT)
		m->t->body_8bit = true;
	return whole(s);
}

/* ---- bytes ------------------------------------------------------------------------------------ */

/* data_timeout for the next block, as long as message_timeout lasts. */
static void restart_clock(struct session *s)
{
	const struct edge_conf *c = s->setup->edge;
	uint64_t age = session_now_ms(s) - s->mail->begun_ms;
	uint64_t left = age < c->message_timeout ? c->message_timeout - age : 0;
	session_hold(s, ST_DATA, left < c->data_timeout ? left : c->data_timeout);
}

enum verdict content_slow(struct session *s)
{
	bool late = session_now_ms(s) - s->mail->begun_ms >= s->setup->edge->message_timeout;
	return session_bye(s, late ? WHY_MESSAGE_TIMEOUT : WHY_COMMAND_TIMEOUT, NULL);
}

static enum smtp_body_rx take_pieces(struct mail *m, struct span *in)
{
	struct span piece;
	for (;;) {
		enum smtp_body_rx rx = smtp_body_decode(&m->decoder, in, &piece);
		if (rx != SMTP_BODY_SPAN)
			return rx;
		if (m->err == ERR_OK)
			m->err = body_add(m->t->body, piece);
	}
}

enum verdict content_input(struct session *s)
{
	struct mail *m = s->mail;
	struct span in = stream_input(s->io);
	size_t before = in.n;
	enum smtp_body_rx rx = take_pieces(m, &in);
	stream_eat(s->io, before - in.n);
	if (rx == SMTP_BODY_END)
		return content_ended(s);
	if (m->decoder.taken > 2 * s->setup->edge->message_size_max)
		return session_bye(s, WHY_TOO_BIG, NULL);
	if (m->decoder.taken - m->block_at >= BLOCK) {
		m->block_at = m->decoder.taken;
		restart_clock(s);
	}
	return V_MORE;
}

static enum verdict start_data(struct session *s)
{
	struct mail *m = s->mail;
	mail_open_body(s);
	smtp_body_decoder_init(&m->decoder, (size_t)s->setup->edge->line_max);
	m->decoder.normalize = session_normalizes(s);
	m->begun_ms = session_now_ms(s);
	restart_clock(s);
	return session_say(s, 354, NULL, "send the message, end with CRLF.CRLF");
}

/* ---- may it come? ----------------------------------------------------------------------------- */

static void on_data_filtered(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? s->mail->begin(s) : s->mail->no(s, a));
}

static enum verdict filter_data(struct session *s)
{
	if (s->filters == NULL)
		return s->mail->begin(s);
	session_enter(s, ST_FILTER_DATA);
	s->ask = filters_ask(s->filters, MILTER_ASK_DATA, SPAN_NONE, SPAN_NONE, on_data_filtered);
	return s->ask != NULL ? V_WAIT : s->mail->begin(s);
}

static void on_data_policy(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? filter_data(s) : s->mail->no(s, a));
}

enum verdict content_begin(struct session *s, mail_begin_fn *begin, mail_no_fn *no)
{
	if (s->mail->t->recipient_count == 0)
		return begin(s);
	s->mail->begin = begin;
	s->mail->no = no;
	session_enter(s, ST_POLICY);
	s->ask = policy_step(s, POLICY_AT_DATA, on_data_policy);
	return s->ask != NULL ? V_WAIT : filter_data(s);
}

enum verdict content_data(struct session *s, const struct smtp_cmd *cmd)
{
	if (s->mail == NULL)
		return session_refuse(s, 503, "5.5.1", "say MAIL first");
	if (s->mail->chunked)
		return session_refuse(s, 503, "5.5.1", "the message comes by BDAT");
	if (s->mail->binary != NULL) /* RFC 3030 section 3 */
		return session_refuse(s, 503, "5.5.1", "BINARYMIME comes by BDAT");
	if (s->mail->t->recipient_count == 0 && s->mail->discarded == 0)
		return session_refuse(s, 554, "5.5.1", "no recipient was taken");
	return content_begin(s, start_data, content_filtered);
}
