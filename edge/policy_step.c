/* policy_step.c - what policy services want of a mail (part of steps 3 and 4; called by envelope.c and content.c;
 * asks policy.c).
 *
 * Owns a struct step for each moment at which services are asked: the service under way, and the answer. */
#include "edge/policy_step.h"

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/stream_bind.h"
#include "proto/smtp_ext.h"
#include "proto/smtp_path.h"

#include "edge/filter_conf.h"
#include "edge/mail.h"
#include "edge/memory.h"
#include "edge/policy.h"
#include "edge/screen.h"

#define step_MAGIC 0x90110003u

enum { CERT_NAME_MAX = 256 };

struct step {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct session *session;
	enum policy_moment at;
	size_t next; /* the service that comes after the one that is asked */
	struct ticket *ask;
	struct milter_text text;
	filter_fn *fn;
};

static const char *const moments[POLICY_MOMENTS] = { "mail", "rcpt", "data", "end" };
static const char *const states[POLICY_MOMENTS] = { "MAIL", "RCPT", "DATA", "END-OF-MESSAGE" };

enum policy_moment policy_moment_of(const char *word)
{
	size_t i = 0;
	while (i < POLICY_MOMENTS && strcmp(word, moments[i]) != 0)
		i++;
	return (enum policy_moment)i;
}

/* ---- the question ----------------------------------------------------------------------------- */

static void put_str(struct buf *out, const char *name, const char *value)
{
	policy_attr_put(out, name, span_str(value != NULL ? value : ""));
}

static void put_number(struct buf *out, const char *name, uint64_t n)
{
	char text[24];
	snprintf(text, sizeof text, "%llu", (unsigned long long)n);
	put_str(out, name, text);
}

static void put_client(const struct session *s, struct buf *out)
{
	char address[IP_TEXT_SIZE];
	struct ip_port here = stream_local(s->io);
	const char *name = screen_name(s);
	put_str(out, "client_address", ip_text(s->from.addr, address));
	put_str(out, "client_name", name != NULL ? name : "unknown");
	put_str(out, "reverse_client_name", name != NULL ? name : "unknown");
	put_number(out, "client_port", s->from.port);
	put_str(out, "server_address", ip_text(here.addr, address));
	put_number(out, "server_port", here.port);
	put_str(out, "helo_name", s->helo);
}

static void put_common(
    const struct session *s, const char *name, enum stream_whose whose, struct buf *out)
{
	struct buf raw = BUF_INIT(CERT_NAME_MAX), text = BUF_INIT(3 * CERT_NAME_MAX);
	if (stream_peer_common(s->io, whose, &raw))
		smtp_xtext_put(&text, buf_span(&raw));
	policy_attr_put(out, name, buf_span(&text));
	buf_end(&raw);
	buf_end(&text);
}

static void put_digest(const char *name, bool there, const uint8_t *digest, struct buf *out)
{
	struct buf text = BUF_INIT(3 * STREAM_BIND_LEN);
	for (size_t i = 0; there && i < STREAM_BIND_LEN; i++)
		buf_printf(&text, "%s%02X", i > 0 ? ":" : "", digest[i]);
	policy_attr_put(out, name, buf_span(&text));
	buf_end(&text);
}

/* As Postfix does it: names (in xtext) of certificates that we trust, and SHA-256 of any. */
static void put_certificate(const struct session *s, struct buf *out)
{
	uint8_t digest[STREAM_BIND_LEN];
	put_common(s, "ccert_subject", STREAM_SUBJECT, out);
	put_common(s, "ccert_issuer", STREAM_ISSUER, out);
	put_digest("ccert_fingerprint", stream_peer_certificate(s->io, digest), digest, out);
	put_digest("ccert_pubkey_fingerprint", stream_peer_key(s->io, digest), digest, out);
}

static void put_trust(const struct session *s, struct buf *out)
{
	struct stream_tls tls = { .version = "", .cipher = "" };
	(void)stream_tls(s->io, &tls);
	put_str(out, "sasl_method", s->user != NULL ? s->mechanism : "");
	put_str(out, "sasl_username", s->user);
	put_str(out, "sasl_sender", "");
	put_certificate(s, out);
	put_str(out, "encryption_protocol", tls.version);
	put_str(out, "encryption_cipher", tls.cipher);
	put_number(out, "encryption_keysize", (uint64_t)(tls.bits > 0 ? tls.bits : 0));
}

static void put_mail(const struct step *p, struct buf *out)
{
	const struct mail *m = p->session->mail;
	const struct transaction *t = m->t;
	bool rcpt = p->at == POLICY_AT_RCPT, one = t->recipient_count == 1;
	struct span to = rcpt ? smtp_path_text(&m->to) : SPAN_NONE;
	if (p->at >= POLICY_AT_DATA && one)
		to = span_str(t->recipients[0].address);
	put_str(out, "queue_id", t->id.s);
	buf_printf(out, "instance=%s.%s\n", p->session->id.s, t->id.s);
	put_str(out, "sender", t->sender);
	policy_attr_put(out, "recipient", to);
	put_number(out, "recipient_count", p->at >= POLICY_AT_DATA ? t->recipient_count : 0);
	put_number(out, "size", t->body != NULL ? body_size(t->body) : m->size);
}

static void put_request(const struct step *p, const struct edge_policy_conf *c, struct buf *out)
{
	const struct session *s = p->session;
	put_str(out, "request", "smtpd_access_policy");
	put_str(out, "protocol_state", states[p->at]);
	put_str(out, "protocol_name", s->esmtp ? "ESMTP" : "SMTP");
	put_client(s, out);
	put_mail(p, out);
	put_trust(s, out);
	put_str(out, "stress", memory_is_pressed(s->edge) ? "yes" : "");
	put_str(out, "policy_context", c->context);
	policy_attr_end(out);
}

/* ---- the answer ------------------------------------------------------------------------------- */

static void cancel(struct ticket *t)
{
	struct step *p = OBJ(step, t);
	ticket_cancel(&p->ask);
	p->magic = 0;
	mem_free(p);
}

static void finish(struct step *p, enum milter_verdict v, const char *who)
{
	struct session *s = p->session;
	filter_fn *fn = p->fn;
	struct milter_text text = p->text;
	struct filter_answer a = { .verdict = v, .text = &text, .filter = who };
	cancel(&p->ticket);
	fn(s, &a);
}

static void log_verdict(const struct step *p, const char *who, const struct policy_action *a)
{
	static const char *const words[] = { "dunno", "ok", "refuse", "defer_if_permit",
		"defer_if_reject", "discard", "hold", "prepend", "redirect", "bcc", "warn" };
	log_write(&edge_events[EDGE_EV_FILTER_VERDICT], mail_id(p->session->mail),
	    LOG_FIELDS(LOG_STR("session", p->session->id.s), LOG_STR("filter", who),
		LOG_STR("verdict", words[a->word]), LOG_U64("code", a->code != 0 ? a->code : 250),
		LOG_STR("text", a->text)));
}

void policy_refusal(const struct policy_action *a, struct milter_text *t)
{
	bool later = a->code < 500;
	*t = (struct milter_text){ .code = (uint16_t)a->code };
	snprintf(t->enhanced, sizeof t->enhanced, "%s",
	    a->enhanced[0] != '\0' ? a->enhanced
	    : later                ? "4.7.1"
				   : "5.7.1");
	snprintf(t->text, sizeof t->text, "%s",
	    a->text[0] != '\0' ? a->text
	    : later            ? "try again later"
			       : "refused by local policy");
	for (char *c = t->text; *c != '\0'; c++) /* not every client takes more than ASCII */
		*c = *c < ' ' || *c > '~' ? '?' : *c;
}

/* False: it is no address. */
static bool take_address(char **to, const char *text)
{
	struct smtp_path path;
	if (smtp_address_parse(span_str(text), 0, &path, NULL))
		return false;
	mem_free(*to);
	*to = mem_span_str(smtp_path_text(&path));
	return true;
}

static bool take_bcc(struct mail *m, const char *text)
{
	bool ok = m->bcc.n < MAIL_BCC_MAX && take_address(&m->bcc.v[m->bcc.n], text);
	m->bcc.n += ok;
	return ok;
}

/* What is noted in the mail; false: it cannot be done. */
bool policy_note(
    struct mail *m, enum policy_moment at, const char *who, const struct policy_action *a)
{
	switch (a->word) {
	case POLICY_DEFER_IF_PERMIT:
		m->defer_if_ok = true;
		m->defer_all_ok |= at == POLICY_AT_MAIL;
		return true;
	case POLICY_DEFER_IF_REJECT:
		m->defer_if_bad = true;
		m->defer_all_bad |= at == POLICY_AT_MAIL;
		return true;
	case POLICY_DISCARD:
		m->discard_by = who;
		return true;
	case POLICY_HOLD:
		transaction_hold(m->t, span_str(a->text[0] != '\0' ? a->text : who));
		return true;
	case POLICY_PREPEND:
		return buf_printf(&m->prepend, "%s\r\n", a->text);
	case POLICY_REDIRECT:
		return take_address(&m->redirect, a->text);
	case POLICY_BCC:
		return take_bcc(m, a->text);
	case POLICY_DUNNO:
	case POLICY_OK:
	case POLICY_WARN:
	case POLICY_REFUSE:
		break;
	}
	return true;
}

static bool ask_next(struct step *p);

static void go_on(struct step *p)
{
	if (!ask_next(p))
		finish(p, MILTER_GO, NULL);
}

static void failed(struct step *p, const struct edge_policy_conf *c)
{
	struct policy_action a = { .code = c->on_failure == EDGE_FAIL_REJECT ? 554 : 451,
		.text = "a policy service is not available" };
	memcpy(a.enhanced, a.code < 500 ? "4.3.0" : "5.3.0", 6);
	policy_refusal(&a, &p->text);
	if (c->on_failure == EDGE_FAIL_ACCEPT)
		go_on(p);
	else
		finish(p, MILTER_REFUSE, c->head.title);
}

static void on_action(void *arg, const struct policy_action *a)
{
	struct step *p = OBJ(step, arg);
	struct session *s = p->session;
	const struct edge_policy_conf *c = s->setup->edge->policy[p->next - 1];
	p->ask = NULL;
	if (a == NULL || !policy_note(s->mail, p->at, c->head.title, a)) {
		session_notef(s, "policy", "%s: failed", c->head.title);
		failed(p, c);
		return;
	}
	session_notef(s, "policy", "%s at %s: word %u code %u %s", c->head.title, moments[p->at],
	    (unsigned)a->word, a->code, a->text);
	if (a->word > POLICY_OK)
		log_verdict(p, c->head.title, a);
	bool late = p->at >= POLICY_AT_DATA && a->word == POLICY_DEFER_IF_PERMIT;
	if (a->word == POLICY_REFUSE || late) {
		bool bye = a->code == 421 || a->code == 521;
		metric_add(&edge_metrics[EDGE_M_FILTER_VERDICTS], 1);
		policy_refusal(a, &p->text);
		finish(p, bye ? MILTER_CLOSE : MILTER_REFUSE, c->head.title);
	} else if (a->word == POLICY_OK) {
		finish(p, MILTER_GO, c->head.title);
	} else {
		go_on(p);
	}
}

/* ---- one service after the other -------------------------------------------------------------- */

static bool wanted(const struct session *s, const struct edge_policy_conf *c, enum policy_moment at)
{
	bool then = false;
	for (size_t i = 0; i < c->at.n && !then; i++)
		then = policy_moment_of(c->at.v[i]) == at;
	if (!then || !edge_names_listener(&c->listeners, s->listener->head.title))
		return false;
	if (at == POLICY_AT_RCPT)
		return filter_conf_in(&c->recipient_domains, smtp_path_text(&s->mail->to));
	return at == POLICY_AT_MAIL ||
	       filter_wanted(&(struct filter_wish){ &c->recipient_domains, NULL }, s->mail->t);
}

/* False: there is none left. */
static bool ask_next(struct step *p)
{
	struct session *s = p->session;
	const struct edge_conf *c = s->setup->edge;
	while (p->next < c->policy_n && !wanted(s, c->policy[p->next], p->at))
		p->next++;
	if (p->next == c->policy_n)
		return false;
	struct buf request = BUF_INIT(POLICY_QUESTION_MAX);
	put_request(p, c->policy[p->next], &request);
	struct policy_question q = {
		.conf = c->policy[p->next++],
		.request = buf_span(&request),
		.log_id = mail_id(s->mail),
	};
	p->ask = policy_ask(s->edge->policies, &q, on_action, p);
	buf_end(&request);
	return true;
}

struct ticket *policy_step(struct session *s, enum policy_moment at, filter_fn *fn)
{
	if (s->dry != NULL) /* a dry run counts nothing, here or elsewhere */
		return NULL;
	if (s->setup->edge->policy_n == 0 || s->mail->discard_by != NULL)
		return NULL;
	struct step *p = MEM_NEW(struct step);
	p->ticket.cancel = cancel;
	p->magic = step_MAGIC;
	p->session = s;
	p->at = at;
	p->fn = fn;
	if (ask_next(p))
		return &p->ticket;
	cancel(&p->ticket);
	return NULL;
}
