/* at_store.c - a recipient whose mailbox is full or disabled is refused at RCPT (part of step 3; before and after:
 * envelope.c).
 *
 * Owns nothing. Only a user whose mail goes to one store right away is asked about: what stands for others, goes
 * elsewhere, is held or passes a channel on its way has its answer later. Everything but a refusal passes: the
 * store is asked again, with the message, by commit. */
#include "edge/at_store.h"

#include "base/check.h"

#include "edge/channel.h"
#include "edge/envelope.h"
#include "edge/mail.h"
#include "edge/store_ask.h"

/* NULL: nobody is to be asked about the recipient. */
static const struct recipient *whom_to_ask_about(const struct session *s)
{
	const struct mail *m = s->mail;
	const struct transaction *t = m->t;
	if (!s->setup->edge->verify_at_store || !m->to_new || t->recipient_count == 0 ||
	    m->hold_why != NULL)
		return NULL;
	const struct recipient *r = &t->recipients[t->recipient_count - 1];
	bool direct = r->user != NULL && r->members == NULL && !channel_is_place(r->store) &&
		      !channel_has_station(s->setup->edge, span_str(r->address));
	return direct ? r : NULL;
}

static struct store_question question_of(const struct session *s, const struct recipient *r)
{
	const struct transaction *t = s->mail->t;
	return (struct store_question){ .store = span_str(r->store),
		.user = r->user,
		.detail = r->detail,
		.sender = t->sender,
		.size = s->mail->size,
		.body_8bit = t->body_8bit,
		.smtputf8 = t->smtputf8,
		.require_tls = t->require_tls };
}

static void note(struct session *s, const struct store_answer *a)
{
	static const char *const words[] = {
		[STORE_TAKES] = "takes it",
		[STORE_REFUSES] = "refuses it",
		[STORE_UNSURE] = "is not sure",
		[STORE_SILENT] = "is silent",
	};
	const struct recipient *r = &s->mail->t->recipients[s->mail->t->recipient_count - 1];
	const char *when = a->remembered ? " (remembered)" : "";
	if (a->word == STORE_REFUSES)
		session_notef(s, "at_store", "<%s>: %s %s%s: %u %s %s", r->address, r->store,
		    words[a->word], when, a->said.code, a->said.enhanced, a->said.text);
	else
		session_notef(s, "at_store", "<%s>: %s %s%s%s%s", r->address, r->store,
		    words[a->word], when, a->why != NULL ? ": " : "", a->why != NULL ? a->why : "");
}

static void account_for(const struct session *s, const struct store_answer *a)
{
	const struct recipient *r = &s->mail->t->recipients[s->mail->t->recipient_count - 1];
	if (s->dry != NULL)
		return;
	if (!a->remembered)
		metric_add(&edge_metrics[EDGE_M_AT_STORE_ASKED], 1);
	if (a->word == STORE_REFUSES)
		metric_add(&edge_metrics[EDGE_M_AT_STORE_REFUSED], 1);
	if (a->word == STORE_UNSURE || a->word == STORE_SILENT)
		metric_add(&edge_metrics[EDGE_M_AT_STORE_UNKNOWN], 1);
	if (a->word == STORE_SILENT && !a->remembered)
		log_write(&edge_events[EDGE_EV_AT_STORE_SILENT], mail_id(s->mail),
		    LOG_FIELDS(LOG_STR("session", s->id.s), LOG_STR("store", r->store),
			LOG_STR("why", a->why)));
}

static enum verdict decide(struct session *s, const struct store_answer *a)
{
	note(s, a);
	account_for(s, a);
	if (a->word != STORE_REFUSES)
		return envelope_filter_recipient(s);
	transaction_remove(s->mail->t, smtp_path_text(&s->mail->to));
	return envelope_refuse_recipient(s, a->said.code, a->said.enhanced, a->said.text);
}

static void on_answer(void *arg, const struct store_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, decide(s, a));
}

enum verdict at_store_verify(struct session *s)
{
	struct store_answer known;
	const struct recipient *r = whom_to_ask_about(s);
	if (r == NULL)
		return envelope_filter_recipient(s);
	struct store_question q = question_of(s, r);
	if (store_ask_known(s->edge->committer, &q, &known))
		return decide(s, &known);
	session_enter(s, ST_AT_STORE);
	s->ask = store_ask(s->edge->committer, &q, on_answer, s);
	return V_WAIT;
}
