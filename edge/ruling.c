/* ruling.c - the access rules at work on one recipient (part of step 3; before and after: envelope.c; asks access.c,
 * lib/directory's tables, and expand.c for channels).
 *
 * Owns struct ruling, kept in the mail: the rule that is looked at, the condition of it that comes next, the last value
 * that a table gave, and the channels when they were asked for. */
#include "edge/ruling.h"

#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "proto/policy_action.h"

#include "edge/access.h"
#include "edge/envelope.h"
#include "edge/limit.h"
#include "edge/mail.h"
#include "edge/outgoing.h"
#include "edge/policy_step.h"
#include "edge/recipient.h"
#include "edge/screen.h"

enum { WHY_MAX = 256 };

/* What of a rule must be asked, in this order. */
enum condition {
	BY_CLIENT,
	BY_NAME, /* the list */
	BY_NAME_TABLE,
	BY_HELO,
	BY_SENDER,
	BY_RECIPIENT,
	BY_CHANNEL,       /* the list */
	BY_CHANNEL_TABLE, /* each of the channels is looked up */
	CONDITIONS
};

struct ruling {
	size_t at; /* the rule that comes next */
	const struct edge_access_conf
	    *rule;           /* the one that is looked at; of the setup; NULL: none */
	enum condition next; /* of its conditions */
	size_t channel_at;   /* of BY_CHANNEL_TABLE */
	bool waits_for_name;
	bool channels_known, stand_in; /* the postmaster's stand-in has been asked about */
	struct outgoing channels;
	char value[TABLE_VALUE_MAX + 1];
};

static enum verdict walk(struct session *s);

void ruling_free(struct ruling **r)
{
	MEM_FREE(r);
}

/* ---- what a rule does ------------------------------------------------------------------------- */

static enum verdict cannot_look(struct session *s, const char *what, const char *why)
{
	session_notef(s, "access", "rule %s: %s: %s", s->mail->ruling->rule->head.title, what, why);
	return envelope_refuse_recipient(
	    s, 451, "4.3.0", "local policy cannot be looked up now, try again later");
}

static enum verdict next_rule(struct session *s)
{
	s->mail->ruling->rule = NULL;
	return walk(s);
}

static enum verdict let_pass(struct session *s)
{
	session_enter(s, ST_COMMAND);
	return envelope_ruled(s);
}

static enum verdict discard(struct session *s)
{
	s->mail->discarded++;
	session_notef(s, "recipient", "<%s> 250 discarded by rule %s", s->mail->to.address,
	    s->mail->ruling->rule->head.title);
	session_enter(s, ST_COMMAND);
	return session_say(s, 250, "2.1.5", "recipient ok");
}

static enum verdict hold(struct session *s, const char *text)
{
	struct mail *m = s->mail;
	struct buf why = BUF_INIT(WHY_MAX);
	buf_printf(&why, "access rule %.60s%s%.150s", m->ruling->rule->head.title,
	    text[0] != '\0' ? ": " : "", text);
	mem_free(m->hold_why);
	m->hold_why = mem_span_str(buf_span(&why));
	buf_end(&why);
	return next_rule(s);
}

static enum verdict redirect(struct session *s, struct span to)
{
	struct smtp_path path;
	if (smtp_address_parse(to, 0, &path, NULL))
		return cannot_look(s, "the value is no address", "");
	s->mail->to = path;
	s->mail->redirected = true;
	return let_pass(s);
}

static enum verdict tag(struct session *s, const char *name)
{
	limit_tag_mail(s, name);
	return next_rule(s);
}

static enum verdict refuse(struct session *s, bool later)
{
	const char *text = s->mail->ruling->rule->text;
	return envelope_refuse_recipient(s, later ? 450 : 550, later ? "4.7.1" : "5.7.1",
	    text != NULL ? text : "not taken here by local policy");
}

/* 421 and 521 end the connection, as at Postfix. */
static enum verdict refuse_in_words(struct session *s, const struct policy_action *a)
{
	struct milter_text text;
	const char *rule = s->mail->ruling->rule->head.title;
	policy_refusal(a, &text);
	enum verdict v = envelope_refuse_recipient(s, text.code, text.enhanced, text.text);
	return a->code == 421 || a->code == 521 ? session_close(s, WHY_FILTERED, rule) : v;
}

/* ---- what a table says ------------------------------------------------------------------------ */

static bool is_number(struct span value)
{
	uint64_t n;
	return span_u64(value, UINT64_MAX, &n);
}

/* "TAG NAME": a word of our own. */
static bool take_tag(struct span value, char name[TABLE_VALUE_MAX + 1])
{
	struct span word = span_cut(&value, ' '), rest = span_trim(value);
	if (!span_ieq(word, SPAN("TAG")) || rest.n == 0 || rest.n > TABLE_VALUE_MAX)
		return false;
	for (size_t i = 0; i < rest.n; i++)
		if (rest.p[i] <= ' ' || rest.p[i] > '~')
			return false;
	snprintf(name, TABLE_VALUE_MAX + 1, "%.*s", SPAN_ARG(rest));
	return true;
}

static enum verdict obey(struct session *s, const struct policy_action *a)
{
	switch (a->word) {
	case POLICY_OK:
		return let_pass(s);
	case POLICY_REFUSE:
		return refuse_in_words(s, a);
	case POLICY_DISCARD:
		return discard(s);
	case POLICY_HOLD:
		return hold(s, a->text);
	case POLICY_REDIRECT:
		return redirect(s, span_str(a->text));
	case POLICY_DEFER_IF_PERMIT:
	case POLICY_DEFER_IF_REJECT:
	case POLICY_PREPEND:
	case POLICY_BCC:
		if (!policy_note(s->mail, POLICY_AT_RCPT, s->mail->ruling->rule->head.title, a))
			return cannot_look(s, "what the value wants cannot be done", a->text);
		return next_rule(s);
	case POLICY_DUNNO:
	case POLICY_WARN:
		return next_rule(s);
	}
	BUG("a word of no action");
}

/* Postfix takes a value that is a number alone for a time stamp of who may, and so for OK. */
static enum verdict act_by_table(struct session *s)
{
	struct span value = span_trim(span_str(s->mail->ruling->value));
	char name[TABLE_VALUE_MAX + 1];
	struct policy_action a;
	session_notef(s, "access", "the table says: %.*s", SPAN_ARG(value));
	if (take_tag(value, name))
		return tag(s, name);
	if (policy_action_parse(value, &a))
		return obey(s, &a);
	if (is_number(value))
		return let_pass(s);
	return cannot_look(s, "this is no action", s->mail->ruling->value);
}

static enum verdict act(struct session *s)
{
	const struct edge_access_conf *rule = s->mail->ruling->rule;
	session_notef(s, "access", "rule %s holds for <%s>", rule->head.title, s->mail->to.address);
	switch ((enum access_action)rule->action) {
	case ACCESS_ACCEPT:
		return let_pass(s);
	case ACCESS_REFUSE:
	case ACCESS_DEFER:
		return refuse(s, rule->action == ACCESS_DEFER);
	case ACCESS_DISCARD:
		return discard(s);
	case ACCESS_REDIRECT:
		return redirect(s, span_str(rule->to));
	case ACCESS_TAG:
		return tag(s, rule->head.title);
	case ACCESS_HOLD:
		return hold(s, rule->text != NULL ? rule->text : "");
	case ACCESS_TABLE:
		return act_by_table(s);
	}
	BUG("an action of no rule");
}

/* ---- channels --------------------------------------------------------------------------------- */

static enum verdict channels_known(struct session *s)
{
	struct ruling *r = s->mail->ruling;
	struct buf text = BUF_INIT(WHY_MAX);
	r->channels_known = true;
	outgoing_text(&r->channels, &text);
	session_notef(
	    s, "channel", "<%s> would go by %.*s", s->mail->to.address, SPAN_ARG(buf_span(&text)));
	buf_end(&text);
	return walk(s);
}

static enum verdict ask_channels(struct session *s, struct span address);

/* RFC 5321 section 4.5.1: as recipient.c will do. */
static enum verdict nobody(struct session *s)
{
	struct ruling *r = s->mail->ruling;
	const char *stand_in = s->setup->edge->postmaster;
	if (r->stand_in || stand_in == NULL ||
	    !span_ieq(smtp_path_local(&s->mail->to), SPAN("postmaster")))
		return channels_known(s);
	r->stand_in = true;
	return ask_channels(s, span_str(stand_in));
}

static enum verdict expanded(struct session *s, const struct expansion *e)
{
	struct ruling *r = s->mail->ruling;
	const struct edge_conf *c = s->setup->edge;
	switch (e->end) {
	case EXPAND_TAKEN:
		for (size_t i = 0; i < e->n; i++)
			outgoing_add(&r->channels, c, &e->members[i]);
		return channels_known(s);
	case EXPAND_ELSEWHERE:
		outgoing_add_elsewhere(&r->channels, c, smtp_path_text(&s->mail->to));
		return channels_known(s);
	case EXPAND_NOBODY:
		return nobody(s);
	case EXPAND_REFUSED:
		break;
	}
	if (e->code >= 500)
		return channels_known(s);
	return envelope_refuse_recipient(s, e->code, e->enhanced, e->text);
}

static void on_expanded(void *arg, struct expansion *e)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, expanded(s, e));
}

static enum verdict ask_channels(struct session *s, struct span address)
{
	struct ruling *r = s->mail->ruling;
	const struct edge_conf *c = s->setup->edge;
	const struct edge_channel_conf *end = channel_end_of(c, address);
	if (end != NULL) {
		r->channels = (struct outgoing){ .v = { end->head.title }, .n = 1 };
		return channels_known(s);
	}
	const struct expand_opts opts = recipient_expand_opts(s);
	session_enter(s, ST_ACCESS);
	s->ask = expand_start(&opts, address, on_expanded, s);
	return V_WAIT;
}

/* A return path of ours (srs.h) stands for the sender that it was made from; a route of its own leads nowhere. */
static enum verdict find_channels(struct session *s)
{
	const struct mail *m = s->mail;
	const struct edge_conf *c = s->setup->edge;
	struct smtp_path back;
	enum srs_result srs =
	    srs_reverse(&s->setup->srs, smtp_path_text(&m->to), clock_wall_us(), &back);
	if (srs == SRS_GOOD)
		outgoing_add_elsewhere(&m->ruling->channels, c, smtp_path_text(&back));
	if (srs != SRS_NONE)
		return channels_known(s);
	if (m->to.kind == SMTP_PATH_POSTMASTER)
		return ask_channels(s, SPAN("postmaster"));
	if (recipient_has_route(&m->to))
		return channels_known(s);
	return ask_channels(s, smtp_path_text(&m->to));
}

/* ---- the client's name ------------------------------------------------------------------------- */

static struct span client_name(const struct session *s)
{
	const char *name = screen_name(s);
	return name != NULL ? span_str(name) : SPAN("unknown");
}

/* Is there an answer to look at? What is asked of a client whose name nobody looks up is never true. */
static bool is_named(struct session *s, enum verdict *v_out)
{
	struct ruling *r = s->mail->ruling;
	switch (screen_naming(s)) {
	case SCREEN_NAMED:
	case SCREEN_NAMELESS:
		return true;
	case SCREEN_PENDING:
		session_enter(s, ST_ACCESS);
		r->waits_for_name = true;
		*v_out = V_WAIT;
		break;
	case SCREEN_SILENT:
		*v_out = cannot_look(s, "the client's name", "the DNS does not answer");
		break;
	case SCREEN_NOT_ASKED:
		*v_out = next_rule(s);
		break;
	}
	return false;
}

void ruling_name_known(struct session *s)
{
	struct ruling *r = s->mail != NULL ? s->mail->ruling : NULL;
	if (r == NULL || !r->waits_for_name)
		return;
	r->waits_for_name = false;
	session_step(s, walk(s));
}

/* ---- tables ----------------------------------------------------------------------------------- */

static enum verdict looked_up(struct session *s, const struct table_found *found)
{
	struct ruling *r = s->mail->ruling;
	if (found->answer == TABLE_UNKNOWN)
		return cannot_look(s, "a table cannot be asked", found->why);
	if (found->answer == TABLE_FOUND) {
		session_notef(s, "table", "%.*s is there: %.*s", SPAN_ARG(found->key),
		    SPAN_ARG(found->value));
		snprintf(r->value, sizeof r->value, "%.*s", SPAN_ARG(found->value));
		r->next++;
		return walk(s);
	}
	if (r->next == BY_CHANNEL_TABLE && ++r->channel_at < r->channels.n)
		return walk(s);
	return next_rule(s);
}

static void on_looked_up(void *arg, const struct table_found *found)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, looked_up(s, found));
}

static struct table_question question(const struct session *s, char address[IP_TEXT_SIZE])
{
	const struct ruling *r = s->mail->ruling;
	const struct edge_access_conf *c = r->rule;
	struct span client = span_str(ip_text(s->from.addr, address));
	struct span channel =
	    r->channel_at < r->channels.n ? span_str(r->channels.v[r->channel_at]) : SPAN_NONE;
	const struct table_question all[CONDITIONS] = {
		[BY_CLIENT] = { c->client_table, TABLE_CLIENT, client },
		[BY_NAME] = { NULL, TABLE_WORD, SPAN_NONE },
		[BY_NAME_TABLE] = { c->client_name_table, TABLE_NAME, client_name(s) },
		[BY_HELO] = { c->helo_table, TABLE_NAME, span_str(s->helo) },
		[BY_SENDER] = { c->sender_table, TABLE_ADDRESS, span_str(s->mail->t->sender) },
		[BY_RECIPIENT] = { c->recipient_table, TABLE_ADDRESS,
		    smtp_path_text(&s->mail->to) },
		[BY_CHANNEL] = { NULL, TABLE_WORD, SPAN_NONE },
		[BY_CHANNEL_TABLE] = { c->channel_table, TABLE_WORD, channel },
	};
	return all[r->next];
}

/* ---- the walk --------------------------------------------------------------------------------- */

static bool is_wanted(const struct ruling *r)
{
	const struct edge_access_conf *c = r->rule;
	const bool wanted[CONDITIONS] = {
		[BY_CLIENT] = c->client_table != NULL,
		[BY_NAME] = c->client_name.n > 0,
		[BY_NAME_TABLE] = c->client_name_table != NULL,
		[BY_HELO] = c->helo_table != NULL,
		[BY_SENDER] = c->sender_table != NULL,
		[BY_RECIPIENT] = c->recipient_table != NULL,
		[BY_CHANNEL] = c->channel.n > 0,
		[BY_CHANNEL_TABLE] = c->channel_table != NULL,
	};
	return wanted[r->next];
}

static enum verdict check_condition(struct session *s)
{
	struct ruling *r = s->mail->ruling;
	char address[IP_TEXT_SIZE];
	bool of_channels = r->next == BY_CHANNEL || r->next == BY_CHANNEL_TABLE;
	bool of_name = r->next == BY_NAME || r->next == BY_NAME_TABLE;
	enum verdict v = V_READ;
	if (of_name && !is_named(s, &v))
		return v;
	if (r->next == BY_NAME) {
		if (!access_has_client_name(s->setup->access, r->at - 1, client_name(s)))
			return next_rule(s);
		r->next++;
		return walk(s);
	}
	if (of_channels && !r->channels_known)
		return find_channels(s);
	if (r->next == BY_CHANNEL && outgoing_has(&r->channels, &r->rule->channel)) {
		r->next++;
		return walk(s);
	}
	if (r->next == BY_CHANNEL || (of_channels && r->channels.n == 0))
		return next_rule(s);
	struct table_question q = question(s, address);
	session_enter(s, ST_ACCESS);
	s->ask = tables_find(s->edge->tables, &q, on_looked_up, s);
	return V_WAIT;
}

static bool take_rule(struct session *s)
{
	struct ruling *r = s->mail->ruling;
	const struct access_facts f = {
		.client = s->from.addr,
		.listener = s->listener->head.title,
		.authenticated = s->user != NULL,
		.helo = span_str(s->helo),
		.sender = span_str(s->mail->t->sender),
		.recipient = smtp_path_text(&s->mail->to),
	};
	r->rule = access_next(s->setup->access, &f, &r->at);
	r->next = 0;
	r->channel_at = 0;
	return r->rule != NULL;
}

/* Goes on from where the ruling is. Rules are few (edge.params.def), so is the depth of calls. */
static enum verdict walk(struct session *s)
{
	struct ruling *r = s->mail->ruling;
	if (r->rule == NULL && !take_rule(s))
		return let_pass(s);
	while (r->next < CONDITIONS && !is_wanted(r))
		r->next++;
	return r->next < CONDITIONS ? check_condition(s) : act(s);
}

enum verdict ruling_start(struct session *s)
{
	struct mail *m = s->mail;
	if (s->setup->edge->access_n == 0)
		return envelope_ruled(s);
	if (m->ruling == NULL)
		m->ruling = MEM_NEW(struct ruling);
	*m->ruling = (struct ruling){ 0 };
	return walk(s);
}
