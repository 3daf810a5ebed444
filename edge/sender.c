/* sender.c - what is asked about a sender (part of step 3; before: envelope.c; asks spf.c and the DNS).
 *
 * Owns: struct sender of a mail, with its two tickets. The domain's existence and SPF are asked at once, and
 * the DNS lists may still be under way; MAIL waits for all of them. A failure of the DNS never gets a 5xx. */
#include "edge/sender.h"

#include "base/check.h"
#include "base/mem.h"

#include "edge/envelope.h"
#include "edge/mail.h"
#include "edge/screen.h"
#include "edge/spf.h"

#define sender_MAGIC 0xed6e0016u

enum { TEXT_MAX = 512 };

/* What MAIL is refused with. */
struct sender_fault {
	unsigned code;
	const char *enhanced, *text;
};

static const struct sender_fault unknown_now = { 450, "4.1.8",
	"cannot look up the sender's domain now" };
static const struct sender_fault unknown = { 550, "5.1.8", "the sender's domain does not exist" };
static const struct sender_fault null_mx = { 550, "5.7.27", "the sender's domain takes no mail" };
static const struct sender_fault spf_fail = { 550, "5.7.23",
	"the sender's domain (SPF) does not let your address send its mail" };
static const struct sender_fault foreign = { 550, "5.7.1",
	"the sender is not an address of yours" };
static const struct sender_fault owner_unknown = { 451, "4.3.0", "cannot look up the sender now" };
static const struct sender_fault spf_temp = { 451, "4.7.24",
	"cannot look up the SPF record of the sender's domain now" };

struct sender {
	uint32_t magic;
	struct session *session;
	struct ticket *domain_ask, *spf_ask; /* owned while asked */
	struct ticket *owner_ask;            /* ditto: directory */
	char *domain;                        /* owned; what was asked about */
	char *spf_domain;                    /* owned; of the sender, or of HELO */
	bool from_helo;                      /* SPF was asked about the HELO name: a null sender */
	bool spf_known;
	struct spf_answer spf;
	const struct sender_fault *fault; /* of the domain; NULL: none */
};

/* ---- the domain ------------------------------------------------------------------------------- */

static void domain_done(struct sender *f, const struct sender_fault *fault, const char *words)
{
	struct session *s = f->session;
	f->fault = fault;
	session_note(s, "sender_domain", span_str(words));
	session_step(s, sender_go_on(s));
}

static void on_addrs(void *arg, const struct dns_addrs *a)
{
	struct sender *f = OBJ(sender, arg);
	f->domain_ask = NULL;
	switch (a->status) {
	case DNS_FOUND:
		domain_done(f, NULL, "has an address");
		break;
	case DNS_ABSENT:
		domain_done(f, &unknown, "does not exist");
		break;
	case DNS_FAILED:
		domain_done(f, &unknown_now, "no answer");
		break;
	}
}

static void on_mx(void *arg, const struct dns_mx *m)
{
	struct sender *f = OBJ(sender, arg);
	f->domain_ask = NULL;
	switch (m->status) {
	case DNS_FOUND:
		domain_done(f, m->n == 0 ? &null_mx : NULL, m->n == 0 ? "null MX" : "has an MX");
		break;
	case DNS_ABSENT:
		f->domain_ask = dns_addr(f->session->edge->dns, span_str(f->domain), on_addrs, f);
		break;
	case DNS_FAILED:
		domain_done(f, &unknown_now, "no answer");
		break;
	}
}

static void on_owner(void *arg, enum directory_status status, const struct account *a)
{
	struct sender *f = OBJ(sender, arg);
	struct session *s = f->session;
	bool own = status == DIRECTORY_FOUND && strcmp(a->user, s->user) == 0;
	f->owner_ask = NULL;
	if (status == DIRECTORY_UNKNOWN)
		f->fault = &owner_unknown;
	else if (!own)
		f->fault = &foreign;
	session_note(s, "sender_owner", own ? SPAN("yes") : SPAN("no"));
	session_step(s, sender_go_on(s));
}

/* ---- SPF -------------------------------------------------------------------------------------- */

static void on_spf(void *arg, const struct spf_answer *a)
{
	struct sender *f = OBJ(sender, arg);
	struct session *s = f->session;
	struct buf text = BUF_INIT(TEXT_MAX);
	f->spf_ask = NULL;
	f->spf_known = true;
	f->spf = *a;
	buf_printf(&text, "%s: %s (%s)", spf_result_word(a->result), a->why, f->spf_domain);
	session_note(s, "spf", buf_span(&text));
	buf_end(&text);
	session_step(s, sender_go_on(s));
}

static void ask_spf(struct sender *f, const struct smtp_path *from)
{
	struct session *s = f->session;
	f->from_helo = from->kind == SMTP_PATH_NULL;
	struct span domain = f->from_helo ? span_str(s->helo) : smtp_path_domain(from);
	const struct spf_ask ask = {
		.client = s->from.addr,
		.local = f->from_helo ? SPAN("postmaster") : smtp_path_local(from),
		.domain = domain,
		.helo = span_str(s->helo),
		.receiver = span_str(s->setup->hostname),
		.deadline_ms = s->setup->edge->spf_timeout,
	};
	f->spf_domain = mem_span_str(domain);
	f->spf_ask = spf_check(s->edge->loop, s->edge->dns, &ask, on_spf, f);
}

/* ---- the whole -------------------------------------------------------------------------------- */

static const struct sender_fault *fault_of(const struct session *s)
{
	const struct sender *f = s->mail->sender;
	if (f == NULL || f->fault != NULL || s->setup->edge->spf != SPF_ENFORCE || !f->spf_known)
		return f == NULL ? NULL : f->fault;
	if (f->spf.result == SPF_FAIL)
		return &spf_fail;
	return f->spf.result == SPF_TEMPERROR ? &spf_temp : NULL;
}

/* RFC 7208 section 6.2: whose words they are must be told. */
static void put_fault(const struct sender *f, const struct sender_fault *fault, struct buf *text)
{
	buf_add_str(text, fault->text);
	if (fault == &spf_fail && f->spf.explanation[0] != '\0')
		buf_printf(text, "; %.100s explains: %.250s", f->spf_domain, f->spf.explanation);
}

static bool is_pending(const struct session *s)
{
	const struct sender *f = s->mail->sender;
	return screen_pending(s) ||
	       (f != NULL && (f->domain_ask != NULL || f->spf_ask != NULL || f->owner_ask != NULL));
}

enum verdict sender_go_on(struct session *s)
{
	if (is_pending(s))
		return V_WAIT;
	const struct sender_fault *fault = fault_of(s);
	if (fault == NULL)
		return envelope_sender_ok(s);
	struct buf text = BUF_INIT(TEXT_MAX);
	put_fault(s->mail->sender, fault, &text);
	session_enter(s, ST_COMMAND);
	enum verdict v = session_refuse(s, fault->code, fault->enhanced, buf_cstr(&text));
	buf_end(&text);
	mail_end(s);
	return v;
}

/* Strangers only: our own users and hosts may send what they like to other checks. */
static bool is_asked_about(const struct session *s)
{
	return s->listener->role == EDGE_MX && s->user == NULL && (!s->probe || s->dry != NULL) &&
	       !ip_is_loopback(s->from.addr) &&
	       !ip_in_set(s->from.addr, &s->setup->edge->dns_exempt) &&
	       !ip_in_set(s->from.addr, &s->listener->relay_from) && !s->relay_cert;
}

static bool may_send_as_any(const struct session *s)
{
	const struct conf_strings *list = &s->setup->edge->send_as_any;
	for (size_t i = 0; i < list->n; i++)
		if (span_ieq_str(span_str(list->v[i]), s->user))
			return true;
	return false;
}

/* A user's own addresses; notices of a user's software have no sender. */
static bool must_own(const struct session *s, const struct smtp_path *from)
{
	return edge_is_submission(s->listener) && s->user != NULL && from->kind != SMTP_PATH_NULL &&
	       s->setup->edge->sender_owner == SENDER_OWNER_REFUSE && !may_send_as_any(s);
}

static struct sender *sender_bare(struct session *s)
{
	struct sender *f = MEM_NEW(struct sender);
	f->magic = sender_MAGIC;
	f->session = s;
	return f;
}

static struct sender *sender_new(struct session *s, const struct smtp_path *from)
{
	const struct edge_conf *c = s->setup->edge;
	struct sender *f = sender_bare(s);
	struct span domain = smtp_path_domain(from);
	/* literals and names in UTF-8 are not looked up */
	bool name = domain.n > 0 && domain.p[0] != '[' && span_is_ascii(domain);
	if (name && c->sender_domain == SENDER_DOMAIN_REFUSE) {
		f->domain = mem_span_str(domain);
		f->domain_ask = dns_mx(s->edge->dns, domain, on_mx, f);
	}
	if (c->spf != SPF_OFF)
		ask_spf(f, from);
	return f;
}

enum verdict sender_start(struct session *s, const struct smtp_path *from)
{
	if (is_asked_about(s))
		s->mail->sender = sender_new(s, from);
	if (must_own(s, from)) {
		struct sender *f = s->mail->sender = sender_bare(s);
		f->owner_ask =
		    directory_find(s->edge->directory, smtp_path_text(from), on_owner, f);
	}
	if (is_pending(s)) {
		session_enter(s, ST_SENDER);
		return V_WAIT;
	}
	return sender_go_on(s);
}

/* What SPF says of the return path itself; NONE: nothing. */
static enum spf_result said_of_path(const struct session *s)
{
	const struct sender *f = s->mail->sender;
	return f != NULL && f->spf_known && !f->from_helo ? f->spf.result : SPF_NONE;
}

bool sender_is_aligned(const struct session *s)
{
	return said_of_path(s) == SPF_PASS;
}

bool sender_is_disowned(const struct session *s)
{
	enum spf_result said = said_of_path(s);
	return said == SPF_FAIL || said == SPF_SOFTFAIL;
}

void sender_free(struct sender **f)
{
	struct sender *gone = *f;
	*f = NULL;
	if (gone == NULL)
		return;
	ticket_cancel(&gone->domain_ask);
	ticket_cancel(&gone->spf_ask);
	ticket_cancel(&gone->owner_ask);
	mem_free(gone->domain);
	mem_free(gone->spf_domain);
	gone->magic = 0;
	mem_free(gone);
}

/* ---- what the header says --------------------------------------------------------------------- */

static bool has_header(const struct sender *f)
{
	return f != NULL && f->spf_known;
}

size_t sender_fields(const struct session *s)
{
	return has_header(s->mail->sender) ? 2 : 0;
}

/* Words between dots, of characters that are good in a token and in an atom. */
static bool is_plain(struct span s)
{
	bool dot = true;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c == '.' ? dot
			     : !ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != '_')
			return false;
		dot = c == '.';
	}
	return !dot;
}

/* A value of either field: as it is, or quoted. What a stranger has chosen cannot end it. */
static void put_value(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%s=", name);
	if (is_plain(value)) {
		buf_add_span(out, value);
		return;
	}
	buf_add_char(out, '"');
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, value.p[i]);
	}
	buf_add_char(out, '"');
}

bool sender_put_header(const struct session *s, struct buf *out)
{
	const struct sender *f = s->mail->sender;
	char addr[IP_TEXT_SIZE];
	if (!has_header(f))
		return true;
	const char *word = spf_result_word(f->spf.result);
	buf_printf(out, "Authentication-Results: %s;\r\n\tspf=%s ", s->setup->hostname, word);
	put_value(out, f->from_helo ? "smtp.helo" : "smtp.mailfrom", span_str(f->spf_domain));
	buf_printf(out, "\r\nReceived-SPF: %s (%s) ", word, s->setup->hostname);
	put_value(out, "client-ip", span_str(ip_text(s->from.addr, addr)));
	buf_printf(out, ";\r\n\tidentity=%s; ", f->from_helo ? "helo" : "mailfrom");
	put_value(out, "helo", span_str(s->helo));
	buf_add_str(out, ";\r\n\t");
	put_value(out, "envelope-from", span_str(s->mail->t->sender));
	return buf_add_str(out, "\r\n");
}
