/* envelope.c - MAIL and RCPT (step 3 of 6; before: greet.c; after: content.c).
 *
 * Each recipient is decided alone: who is behind it (expand.c), and for those elsewhere the relay policy. Found,
 * absent and could-not-look are three answers, and the last is always a 4xx. Nothing is relayed for strangers, and addresses that
 * carry a route of their own (percent hack, bang path, quoted @) are never followed. */
#include "edge/envelope.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/mime_binary.h"
#include "proto/smtp_ext.h"

#include "edge/at_store.h"
#include "edge/filter.h"
#include "edge/limit.h"
#include "edge/mail.h"
#include "edge/memory.h"
#include "edge/outgoing.h"
#include "edge/policy_step.h"
#include "edge/recipient.h"
#include "edge/rewrite.h"
#include "edge/ruling.h"
#include "edge/screen.h"
#include "edge/sender.h"

enum { EXT_TEXT_MAX = 256, DELAY_MAX_MS = 30000 };

/* ---- MAIL ------------------------------------------------------------------------------------- */

static enum verdict bad_extension(struct session *s, const struct smtp_ext_error *e)
{
	return session_refuse(s, e->unknown ? 555 : 501, "5.5.4", e->why);
}

static enum verdict login_wanted(struct session *s)
{
	if (!stream_is_tls(s->io) && !s->listener->allow_plaintext_auth)
		return session_refuse(s, 530, "5.7.0", "say STARTTLS first, then AUTH");
	return session_refuse(s, 530, "5.7.0", "authentication required");
}

bool envelope_may_relay(const struct session *s)
{
	return s->user != NULL || ip_in_set(s->from.addr, &s->listener->relay_from) ||
	       s->relay_cert;
}

/* A stranger whose server is not offered it writes the report of success itself, to a sender whom it
 * knows; from here it would go to whoever the stranger says he is. */
bool envelope_offers_dsn(const struct session *s)
{
	if (s->setup->edge->dsn == EDGE_DSN_TRUSTED)
		return edge_is_submission(s->listener) || envelope_may_relay(s);
	return s->setup->edge->dsn == EDGE_DSN_ALL;
}

bool envelope_offers_priority(const struct session *s)
{
	return edge_is_submission(s->listener) || envelope_may_relay(s);
}

static unsigned offered(const struct session *s)
{
	if (!s->esmtp)
		return 0;
	return SMTP_PARAM_SIZE | SMTP_PARAM_BODY | SMTP_PARAM_SMTPUTF8 |
	       (stream_is_tls(s->io) ? SMTP_PARAM_REQUIRETLS : 0) |
	       (envelope_offers_priority(s) ? SMTP_PARAM_MT_PRIORITY : 0) |
	       (edge_has_auth(s->listener) ? SMTP_PARAM_AUTH : 0) |
	       (envelope_offers_dsn(s) ? SMTP_PARAM_RET | SMTP_PARAM_ENVID : 0);
}

static void take_wishes(struct session *s, const struct smtp_mail_ext *ext)
{
	struct transaction *t = s->mail->t;
	t->ret = ext->ret;
	t->envid = ext->envid.n > 0 ? mem_span_str(ext->envid) : NULL;
	t->trusted = envelope_may_relay(s);
}

/* ---- limits ----------------------------------------------------------------------------------- */

struct meter_facts envelope_facts(const struct session *s)
{
	return (struct meter_facts){
		.client = s->from.addr,
		.user = span_str(s->user),
		.sender = span_str(s->mail->t->sender),
		.helo = span_str(s->helo),
		.listener = span_str(s->listener->head.title),
		.recipients = 1,
		.authenticated = s->user != NULL,
	};
}

static uint64_t delay_of(const struct meter_answer *a)
{
	return a->retry_ms < DELAY_MAX_MS ? a->retry_ms : DELAY_MAX_MS;
}

void envelope_limit_text(const struct meter_answer *a, char text[LIMIT_TEXT_MAX])
{
	snprintf(text, LIMIT_TEXT_MAX, "limit %.60s is reached%s", a->rule,
	    a->action == METER_REFUSE ? "" : ", try again later");
}

/* ---- the answer to MAIL ----------------------------------------------------------------------- */

enum verdict envelope_sender_taken(struct session *s)
{
	session_enter(s, ST_COMMAND);
	return session_say(s, 250, "2.1.0", "sender ok");
}

static enum verdict sender_metered(struct session *s, const struct meter_answer *a)
{
	char text[LIMIT_TEXT_MAX];
	limit_note(s, "meter_mail", a);
	if (a->action == METER_ALLOW)
		return envelope_sender_taken(s);
	if (a->action == METER_DELAY) {
		session_hold(s, ST_METER_MAIL, delay_of(a));
		return V_WAIT;
	}
	if (a->disconnect)
		return session_bye(s, WHY_LIMITED, a->rule);
	envelope_limit_text(a, text);
	session_enter(s, ST_COMMAND);
	mail_end(s);
	return session_refuse(s, a->action == METER_REFUSE ? 550 : 450,
	    a->action == METER_REFUSE ? "5.7.1" : "4.7.1", text);
}

static void on_sender_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, sender_metered(s, a));
}

static enum verdict sender_taken(struct session *s)
{
	struct meter_facts facts = envelope_facts(s);
	session_enter(s, ST_METER_MAIL);
	s->ask =
	    s->probe ? NULL : meter_ask(s->edge->meter, METER_MAIL, &facts, on_sender_metered, s);
	return s->ask != NULL ? V_WAIT : envelope_sender_taken(s);
}

static enum verdict refuse_sender(struct session *s, const struct filter_answer *a)
{
	session_enter(s, ST_COMMAND);
	enum verdict v = session_refuse(s, a->text->code, a->text->enhanced, a->text->text);
	mail_end(s);
	return a->verdict == MILTER_CLOSE ? session_close(s, WHY_FILTERED, a->filter) : v;
}

static void on_sender_filtered(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? sender_taken(s) : refuse_sender(s, a));
}

static enum verdict filter_sender(struct session *s)
{
	struct mail *m = s->mail;
	filters_open(s);
	if (s->filters == NULL)
		return sender_taken(s);
	session_enter(s, ST_FILTER_MAIL);
	s->ask = filters_ask(s->filters, MILTER_ASK_MAIL, span_str(m->t->sender),
	    span_str(m->params), on_sender_filtered);
	MEM_FREE(&m->params);
	return s->ask != NULL ? V_WAIT : sender_taken(s);
}

static void on_sender_policy(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? filter_sender(s) : refuse_sender(s, a));
}

enum verdict envelope_sender_ok(struct session *s)
{
	session_enter(s, ST_POLICY);
	s->ask = policy_step(s, POLICY_AT_MAIL, on_sender_policy);
	return s->ask != NULL ? V_WAIT : filter_sender(s);
}

struct rewrite_facts envelope_rewrite_facts(const struct session *s)
{
	return (struct rewrite_facts){ .listener = s->listener->head.title,
		.ours = envelope_may_relay(s) };
}

static void rewrite_to(struct session *s, enum rewrite_kind kind, struct smtp_path *address)
{
	struct rewrite_facts f = envelope_rewrite_facts(s);
	struct smtp_path was = *address;
	const char *rule = rewrite_address(s->setup->rewrite, kind, &f, address);
	if (rule != NULL)
		session_notef(
		    s, "rewrite", "<%s> is <%s> by rule %s", was.address, address->address, rule);
}

/* What filters hear: binary parts are base64 when they see them (RFC 3030 ends at this door). */
static char *params_told(struct span params)
{
	struct buf out = BUF_INIT(SMTP_LINE_MAX);
	while (params.n > 0) {
		struct span word = span_cut(&params, ' ');
		if (span_ieq(word, SPAN("BODY=BINARYMIME")))
			word = SPAN("BODY=8BITMIME");
		buf_printf(&out, "%s%.*s", buf_len(&out) > 0 ? " " : "", SPAN_ARG(word));
	}
	char *text = mem_span_str(buf_span(&out));
	buf_end(&out);
	return text;
}

enum verdict envelope_mail(struct session *s, const struct smtp_cmd *cmd)
{
	struct smtp_path sender;
	struct smtp_mail_ext ext;
	const char *why = NULL;
	if (edge_is_submission(s->listener) && s->user == NULL)
		return login_wanted(s);
	if (s->mail != NULL)
		return session_refuse(s, 503, "5.5.1", "there is a sender already");
	if (smtp_ext_mail(cmd->params, offered(s), &ext))
		return bad_extension(s, &ext.error);
	bool utf8 = (ext.seen & SMTP_PARAM_SMTPUTF8) != 0;
	if (smtp_path_parse(
		cmd->path, SMTP_PATH_NULL_OK | (utf8 ? SMTP_PATH_UTF8_OK : 0u), &sender, &why))
		return session_refuse(s, 501, "5.1.7", why);
	if (ext.size > s->setup->edge->message_size_max)
		return session_refuse(s, 552, "5.3.4", "message is too big");
	if (memory_is_full(s->edge))
		return session_refuse(s, 452, "4.3.1", memory_words);
	rewrite_to(s, REWRITE_SENDER, &sender);
	s->mail = mail_new(s, &sender, ext.body == SMTP_BODY_8BITMIME);
	s->mail->utf8 = s->mail->t->smtputf8 = utf8;
	s->mail->binary = ext.body == SMTP_BODY_BINARYMIME ? mime_binary_new() : NULL;
	s->mail->origin = s->origin;
	s->origin = NULL;
	if (s->mail->origin != NULL)
		session_note(s, "origin", span_str(s->mail->origin));
	s->mail->t->priority = ext.priority;
	s->mail->t->priority_said = (ext.seen & SMTP_PARAM_MT_PRIORITY) != 0;
	s->mail->t->require_tls = (ext.seen & SMTP_PARAM_REQUIRETLS) != 0;
	s->mail->size = ext.size;
	take_wishes(s, &ext);
	session_notef(s, "mail", "from <%s> in session %s", sender.address, s->id.s);
	s->mail->params = params_told(cmd->params);
	return sender_start(s, &sender);
}

/* ---- the answer to RCPT ----------------------------------------------------------------------- */

static void account_for_refused(const struct session *s, unsigned code, const char *text)
{
	const struct mail *m = s->mail;
	metric_add(
	    &edge_metrics[code < 500 ? EDGE_M_RECIPIENTS_LATER : EDGE_M_RECIPIENTS_REFUSED], 1);
	log_write(&edge_events[EDGE_EV_RECIPIENT_REFUSED], mail_id(m),
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("session", s->id.s),
		LOG_STR("sender", m->t->sender), LOG_SPAN("recipient", smtp_path_text(&m->to)),
		LOG_U64("code", code), LOG_STR("why", text)));
}

enum verdict envelope_refuse_recipient(
    struct session *s, unsigned code, const char *enhanced, const char *text)
{
	const struct mail *m = s->mail;
	if (m->defer_if_bad && code >= 500) {
		code = 450;
		enhanced = "4.7.1";
	}
	if (s->dry == NULL)
		account_for_refused(s, code, text);
	session_notef(s, "recipient", "<%s> %u %s", m->to.address, code, text);
	session_enter(s, ST_COMMAND);
	return session_refuse_quietly(s, code, enhanced, text);
}

static bool same_recipient(const struct recipient *r, struct span address, struct span user)
{
	if (user.n > 0)
		return r->user != NULL && span_eq_str(user, r->user);
	return r->user == NULL && span_eq_str(address, r->address);
}

/* One that is in the mail already, by another name, stays as it is. */
static void hold(struct session *s)
{
	struct mail *m = s->mail;
	struct transaction *t = m->t;
	session_note(s, "hold", span_str(m->hold_why));
	if (!m->to_new || t->recipient_count == 0)
		return;
	t->recipients[t->recipient_count - 1].hold_why = m->hold_why;
	m->hold_why = NULL;
}

/* How it would go out; a dry run tells. */
static void note_channel(struct session *s)
{
	const struct transaction *t = s->mail->t;
	struct outgoing o = { .n = 0 };
	struct buf text = BUF_INIT(EXT_TEXT_MAX);
	if (s->dry == NULL || !s->mail->to_new || t->recipient_count == 0)
		return;
	outgoing_add(&o, s->setup->edge, &t->recipients[t->recipient_count - 1]);
	outgoing_text(&o, &text);
	session_notef(
	    s, "channel", "<%s> goes by %.*s", s->mail->to.address, SPAN_ARG(buf_span(&text)));
	buf_end(&text);
}

static enum verdict recipient_taken(struct session *s)
{
	if (s->mail->defer_if_ok) {
		if (s->mail->to_new)
			transaction_remove(s->mail->t, smtp_path_text(&s->mail->to));
		return envelope_refuse_recipient(s, 450, "4.7.1", "try again later");
	}
	if (s->mail->hold_why != NULL)
		hold(s);
	note_channel(s);
	session_notef(s, "recipient", "<%s> 250", s->mail->to.address);
	if (s->dry == NULL)
		metric_add(&edge_metrics[EDGE_M_RECIPIENTS], 1);
	session_enter(s, ST_COMMAND);
	return session_say(s, 250, "2.1.5", "recipient ok");
}

static enum verdict refuse_filtered(struct session *s, const struct filter_answer *a)
{
	if (s->mail->to_new)
		transaction_remove(s->mail->t, smtp_path_text(&s->mail->to));
	enum verdict v =
	    envelope_refuse_recipient(s, a->text->code, a->text->enhanced, a->text->text);
	return a->verdict == MILTER_CLOSE ? session_close(s, WHY_FILTERED, a->filter) : v;
}

static void on_recipient_filtered(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? recipient_taken(s) : refuse_filtered(s, a));
}

static enum verdict filter_recipient(struct session *s)
{
	if (s->filters == NULL)
		return recipient_taken(s);
	session_enter(s, ST_FILTER_RCPT);
	s->ask = filters_ask(s->filters, MILTER_ASK_RCPT, smtp_path_text(&s->mail->to), SPAN_NONE,
	    on_recipient_filtered);
	return s->ask != NULL ? V_WAIT : recipient_taken(s);
}

static void on_recipient_policy(void *arg, const struct filter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, a->verdict == MILTER_GO ? filter_recipient(s) : refuse_filtered(s, a));
}

/* Policy services and filters are told of recipients that we would take. */
enum verdict envelope_filter_recipient(struct session *s)
{
	session_enter(s, ST_POLICY);
	s->ask = policy_step(s, POLICY_AT_RCPT, on_recipient_policy);
	return s->ask != NULL ? V_WAIT : filter_recipient(s);
}

static enum verdict recipient_metered(struct session *s, const struct meter_answer *a)
{
	char text[LIMIT_TEXT_MAX];
	limit_note(s, "meter_rcpt", a);
	if (a->action == METER_ALLOW)
		return at_store_verify(s);
	if (a->action == METER_DELAY) {
		session_hold(s, ST_METER_RCPT, delay_of(a));
		return V_WAIT;
	}
	if (a->disconnect)
		return session_bye(s, WHY_LIMITED, a->rule);
	if (s->mail->to_new)
		transaction_remove(s->mail->t, smtp_path_text(&s->mail->to));
	envelope_limit_text(a, text);
	return envelope_refuse_recipient(s, a->action == METER_REFUSE ? 550 : 450,
	    a->action == METER_REFUSE ? "5.7.1" : "4.7.1", text);
}

static void on_recipient_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, recipient_metered(s, a));
}

enum verdict envelope_meter_recipient(struct session *s)
{
	struct meter_facts facts = envelope_facts(s);
	facts.recipient = smtp_path_text(&s->mail->to);
	session_enter(s, ST_METER_RCPT);
	s->ask = s->probe ? NULL
			  : meter_ask(s->edge->meter, METER_RCPT, &facts, on_recipient_metered, s);
	return s->ask != NULL ? V_WAIT : at_store_verify(s);
}

/* Two addresses of one account are one delivery, with the wishes of the first. */
enum verdict envelope_take_recipient(
    struct session *s, struct span user, struct span detail, struct span store)
{
	struct transaction *t = s->mail->t;
	struct span address = smtp_path_text(&s->mail->to);
	bool there = false;
	for (size_t i = 0; i < t->recipient_count && !there; i++)
		there = same_recipient(&t->recipients[i], address, user);
	size_t max = (size_t)s->setup->edge->recipients_max;
	struct recipient *r = there ? NULL : transaction_add(t, max, address, user, detail, store);
	if (!there && r == NULL)
		return envelope_refuse_recipient(s, 452, "4.5.3", "too many recipients");
	if (r != NULL) {
		r->notify = s->mail->notify;
		r->orcpt = s->mail->orcpt[0] != '\0' ? mem_str(s->mail->orcpt) : NULL;
		r->filters = s->mail->filters;
		s->mail->filters = NULL;
	}
	s->mail->to_new = !there;
	return envelope_meter_recipient(s);
}

/* ---- RCPT ------------------------------------------------------------------------------------- */

/* RFC 5321 section 4.5.1: who thinks to be listed wrongly can tell the postmaster. */
static bool is_listed(struct session *s, enum verdict *v_out)
{
	struct buf text = BUF_INIT(EXT_TEXT_MAX);
	unsigned code = 0;
	if (!span_ieq(smtp_path_local(&s->mail->to), SPAN("postmaster")))
		code = screen_recipient_code(s, &text);
	if (code != 0)
		*v_out = envelope_refuse_recipient(
		    s, code, code < 500 ? "4.7.1" : "5.7.1", buf_cstr(&text));
	buf_end(&text);
	return code != 0;
}

enum verdict envelope_ruled(struct session *s)
{
	struct mail *m = s->mail;
	enum verdict v = V_READ;
	if (recipient_is_srs(s, &v))
		return v;
	if (m->to.kind == SMTP_PATH_POSTMASTER)
		return recipient_look_for(s, SPAN("postmaster"));
	if (recipient_has_route(&m->to))
		return envelope_refuse_recipient(s, 550, "5.7.1", "relay denied: routed address");
	return recipient_look_for(s, smtp_path_text(&m->to));
}

enum verdict envelope_rcpt(struct session *s, const struct smtp_cmd *cmd)
{
	struct smtp_rcpt_ext ext;
	const char *why = NULL;
	struct mail *m = s->mail;
	enum verdict v = V_READ;
	if (m == NULL)
		return session_refuse(s, 503, "5.5.1", "say MAIL first");
	if (m->chunked)
		return session_refuse(s, 503, "5.5.1", "the message has begun");
	unsigned flags = SMTP_PATH_POSTMASTER_OK | (m->utf8 ? SMTP_PATH_UTF8_OK : 0u) |
			 (s->setup->srs.domain != NULL ? SMTP_PATH_LONG_LOCAL_OK : 0u);
	if (smtp_path_parse(cmd->path, flags, &m->to, &why))
		return session_refuse(s, 501, "5.1.3", why);
	unsigned dsn =
	    s->esmtp && envelope_offers_dsn(s) ? SMTP_PARAM_NOTIFY | SMTP_PARAM_ORCPT : 0;
	if (smtp_ext_rcpt(cmd->params, dsn | (m->utf8 ? SMTP_PARAM_SMTPUTF8 : 0u), &ext))
		return bad_extension(s, &ext.error);
	m->defer_if_ok = m->defer_all_ok;
	m->defer_if_bad = m->defer_all_bad;
	m->to_postmaster = false;
	m->notify = ext.notify;
	snprintf(m->orcpt, sizeof m->orcpt, "%.*s", SPAN_ARG(ext.orcpt));
	if (m->t->recipient_count >= (size_t)s->setup->edge->recipients_max)
		return envelope_refuse_recipient(s, 452, "4.5.3", "too many recipients");
	if (memory_is_full(s->edge))
		return envelope_refuse_recipient(s, 452, "4.3.1", memory_words);
	m->redirected = false;
	MEM_FREE(&m->hold_why);
	MEM_FREE(&m->filters);
	recipient_own_literal(s);
	rewrite_to(s, REWRITE_RECIPIENT, &m->to);
	return is_listed(s, &v) ? v : ruling_start(s);
}
