/* recipient.c - who is behind the recipient that RCPT names (part of step 3; before and after: envelope.c).
 *
 * Users, members, mail for elsewhere, and reports that come back to a return path of ours. Owns nothing. */
#include "edge/recipient.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "directory/directory_conf.h"

#include "edge/channel.h"
#include "edge/envelope.h"
#include "edge/mail.h"

/* ---- members ---------------------------------------------------------------------------------- */

static bool is_expanded_already(const struct transaction *t, const char *via)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (t->recipients[i].via != NULL &&
		    span_ieq_str(span_str(via), t->recipients[i].via))
			return true;
	return false;
}

static void log_expanded(const struct session *s, const struct expansion *e)
{
	log_write(&edge_events[EDGE_EV_RECIPIENT_EXPANDED], mail_id(s->mail),
	    LOG_FIELDS(LOG_STR("session", s->id.s), LOG_STR("recipient", s->mail->to.address),
		LOG_U64("members", e->n), LOG_STR("why", e->held ? "held" : NULL)));
}

/* The recipient stays what the client has called it; its members are kept with it until commit. */
static enum verdict take_members(struct session *s, struct expansion *e)
{
	struct mail *m = s->mail;
	const struct edge_conf *c = s->setup->edge;
	m->to_new = !is_expanded_already(m->t, e->via);
	session_notef(s, "members", "<%s> stands for %zu", m->to.address, e->n);
	if (!m->to_new)
		return envelope_meter_recipient(s);
	struct recipient *r = NULL;
	bool apart = expansion_goes_apart(e);
	if (!apart || m->expanded < (unsigned)c->expanded_recipients_max)
		r = transaction_add(m->t, (size_t)c->recipients_max, smtp_path_text(&m->to),
		    SPAN_NONE, SPAN_NONE, SPAN_NONE);
	if (r == NULL)
		return envelope_refuse_recipient(s, 452, "4.5.3", "too many recipients");
	if (s->dry == NULL)
		log_expanded(s, e);
	m->expanded += apart;
	r->notify = m->notify;
	r->orcpt = m->orcpt[0] != '\0' ? mem_str(m->orcpt) : NULL;
	expansion_take(e, r);
	return envelope_meter_recipient(s);
}

/* ---- local recipients ------------------------------------------------------------------------- */

static enum verdict take_local(struct session *s, const struct recipient *r)
{
	struct span user, detail;
	smtp_path_split(&s->mail->to, '+', &user, &detail);
	s->mail->filters = mem_str(r->filters);
	return envelope_take_recipient(s, span_str(r->user), detail, span_str(r->store));
}

/* RFC 5321 section 4.5.1: postmaster is there, whatever the directory says. */
static enum verdict absent(struct session *s)
{
	struct mail *m = s->mail;
	const char *stand_in = s->setup->edge->postmaster;
	if (m->to_postmaster || stand_in == NULL ||
	    !span_ieq(smtp_path_local(&m->to), SPAN("postmaster")))
		return envelope_refuse_recipient(s, 550, "5.1.1", "no such mailbox");
	m->to_postmaster = true;
	return recipient_look_for(s, span_str(stand_in));
}

bool recipient_has_route(const struct smtp_path *to)
{
	struct span local = smtp_path_local(to);
	return span_find(local, '%') != SIZE_MAX || span_find(local, '!') != SIZE_MAX ||
	       span_find(local, '@') != SIZE_MAX;
}

static enum verdict elsewhere(struct session *s)
{
	if (!envelope_may_relay(s) && !s->mail->redirected)
		return envelope_refuse_recipient(s, 550, "5.7.1", "relay denied");
	if (smtp_path_domain(&s->mail->to).p[0] == '[')
		return envelope_refuse_recipient(
		    s, 550, "5.1.2", "mail is not relayed to address literals");
	return envelope_take_recipient(s, SPAN_NONE, SPAN_NONE, SPAN_NONE);
}

static enum verdict found(struct session *s, struct expansion *e)
{
	switch (e->end) {
	case EXPAND_TAKEN:
		return e->plain && !s->mail->to_postmaster ? take_local(s, &e->members[0])
							   : take_members(s, e);
	case EXPAND_NOBODY:
		return absent(s);
	case EXPAND_ELSEWHERE:
		return elsewhere(s);
	case EXPAND_REFUSED:
		break;
	}
	return envelope_refuse_recipient(s, e->code, e->enhanced, e->text);
}

static void on_found(void *arg, struct expansion *e)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, found(s, e));
}

struct expand_opts recipient_expand_opts(const struct session *s)
{
	const struct mail *m = s->mail;
	return (struct expand_opts){ .loop = s->edge->loop,
		.directory = s->edge->directory,
		.conf = s->setup->edge,
		.sender = { .address = span_str(m->t->sender),
		    .user = s->user,
		    .trusted = envelope_may_relay(s),
		    .size = m->size } };
}

enum verdict recipient_look_for(struct session *s, struct span address)
{
	const struct expand_opts opts = recipient_expand_opts(s);
	const struct edge_channel_conf *c = channel_end_of(s->setup->edge, address);
	char place[CHANNEL_PLACE_SIZE];
	if (c != NULL)
		return envelope_take_recipient(
		    s, SPAN_NONE, SPAN_NONE, span_str(channel_place(c, place)));
	session_enter(s, ST_RECIPIENT);
	s->ask = expand_start(&opts, address, on_found, s);
	return V_WAIT;
}

/* ---- address literals ------------------------------------------------------------------------- */

static bool listens_at(const struct edge_conf *c, struct ip_addr a)
{
	for (size_t i = 0; i < c->listener_n; i++)
		for (size_t k = 0; k < c->listener[i]->address.n; k++)
			if (ip_eq(c->listener[i]->address.v[k].at.addr, a))
				return true;
	return false;
}

static bool is_own(const struct session *s, struct ip_addr a)
{
	const struct edge_conf *c = s->setup->edge;
	return !ip_is_none(a) && !ip_is_any(a) &&
	       (ip_eq(stream_local(s->io).addr, a) || ip_in_set(a, &c->own_addresses) ||
		   listens_at(c, a));
}

/* The domain that it gets is ours: what is done with it is what is done with any address there. */
void recipient_own_literal(struct session *s)
{
	struct smtp_path *to = &s->mail->to, own;
	const struct directory_conf *d = conf_section(s->setup->conf, &directory_block);
	struct buf text = BUF_INIT(SMTP_ADDRESS_MAX);
	struct ip_addr a;
	if (d->default_domain == NULL || !smtp_literal_parse(smtp_path_domain(to), &a) ||
	    !is_own(s, a))
		return;
	buf_printf(&text, "%.*s@%s", SPAN_ARG(smtp_path_local(to)), d->default_domain);
	unsigned flags = SMTP_PATH_UTF8_OK | SMTP_PATH_LONG_LOCAL_OK;
	if (buf_ok(&text) && smtp_address_parse(buf_span(&text), flags, &own, NULL) == ERR_OK) {
		session_notef(s, "literal", "<%s> is <%s>", to->address, own.address);
		*to = own;
	}
	buf_end(&text);
}

/* ---- rewritten return paths ------------------------------------------------------------------- */

/* A report comes back to a return path that we have made: it goes on to the sender. Nothing else does, or
 * whoever has seen one of these addresses could send by way of us. */
bool recipient_is_srs(struct session *s, enum verdict *v_out)
{
	struct mail *m = s->mail;
	struct smtp_path back;
	enum srs_result r =
	    srs_reverse(&s->setup->srs, smtp_path_text(&m->to), clock_wall_us(), &back);
	if (r == SRS_NONE)
		return false;
	if (r == SRS_GOOD && m->t->sender[0] != '\0')
		*v_out = envelope_refuse_recipient(
		    s, 550, "5.7.1", "only reports are taken for this return path");
	else if (r == SRS_EXPIRED)
		*v_out = envelope_refuse_recipient(s, 550, "5.1.6", "this return path has expired");
	else if (r == SRS_FORGED)
		*v_out = envelope_refuse_recipient(s, 550, "5.1.1", "no such return path");
	if (r != SRS_GOOD || m->t->sender[0] != '\0')
		return true;
	session_notef(s, "srs", "<%s> is <%s>", m->to.address, back.address);
	m->to = back;
	m->redirected = true;
	return false;
}
