/* filter_conf.c - settings of filters and scanners: their tables, and checks over several options; opt-in by domain. */
#include "edge/filter_conf.h"

#include "base/span.h"
#include "proto/smtp_path.h"

#include "edge/mail.h"
#include "edge/pattern.h"
#include "edge/policy_step.h"

#define CONF_BLOCK edge_milter
#define CONF_DEF "edge/edge_milter.params.def"
#define CONF_PROSE                                                                                 \
	"A filter that speaks the milter protocol (version 6). Filters are asked in the order of " \
	"the file; each sees what those before it have changed."
#include "conf/params_table.h"

#define CONF_BLOCK edge_scanner
#define CONF_DEF "edge/edge_scanner.params.def"
#define CONF_PROSE                                                                                 \
	"A scanner for spam or viruses. Scanners are asked behind the last filter, in the order "  \
	"of the file, about the message as the filters have left it."
#include "conf/params_table.h"

#define CONF_BLOCK edge_policy
#define CONF_DEF "edge/edge_policy.params.def"
#define CONF_PROSE                                                                                 \
	"A service that speaks Postfix's policy delegation protocol, as greylisting daemons do. "  \
	"Services are asked in the order of the file, before filters; the first that says OK or "  \
	"refuses is the last one asked at that moment. Known words: DUNNO, OK, REJECT, DEFER, "    \
	"DEFER_IF_PERMIT, DEFER_IF_REJECT, 4NN, 5NN, DISCARD, HOLD, PREPEND, REDIRECT, BCC, WARN " \
	"and INFO. ccert_subject and ccert_issuer are common names (xtext) of certificates that "  \
	"the listener's authorities vouch for, ccert_fingerprint and ccert_pubkey_fingerprint "    \
	"SHA-256 of any; stress is yes when the worker comes near memory_max."
#include "conf/params_table.h"

static void check_moments(const struct edge_policy_conf *p, struct conf_diag *d)
{
	for (size_t i = 0; i < p->at.n; i++)
		if (policy_moment_of(p->at.v[i]) == POLICY_MOMENTS)
			conf_error(d, p->head.pos, "at: \"%s\" is not one of mail, rcpt, data, end",
			    p->at.v[i]);
}

static void check_one(const struct edge_conf *e, const struct conf_head *head,
    const struct conf_strings *listeners, const struct conf_hostports *at, struct conf_diag *d)
{
	if (head->title[0] == '\0')
		conf_error(d, head->pos, "a filter needs a name: milter NAME { ... }");
	for (size_t i = 0; i < listeners->n; i++)
		if (edge_listener(e, listeners->v[i]) == NULL)
			conf_error(d, head->pos, "there is no listener \"%s\"", listeners->v[i]);
	for (size_t i = 0; i < at->n; i++)
		if (at->v[i].host[0] != '/' && at->v[i].port == 0)
			conf_error(d, head->pos, "the address %s needs a port", at->v[i].host);
}

/* It stands in a request line. */
static void check_service(const struct edge_scanner_conf *c, struct conf_diag *d)
{
	bool ok = c->service[0] != '\0' && c->service[0] != '/' && strlen(c->service) <= 255;
	for (const char *p = c->service; *p != '\0'; p++)
		ok = ok && *p > ' ' && *p <= '~';
	if (!ok)
		conf_error(d, c->head.pos, "service: a path without the slash in front");
}

void filter_conf_check(const struct edge_conf *e, struct conf_diag *d)
{
	for (size_t i = 0; i < e->milter_n; i++)
		check_one(
		    e, &e->milter[i]->head, &e->milter[i]->listeners, &e->milter[i]->address, d);
	for (size_t i = 0; i < e->policy_n; i++) {
		check_one(
		    e, &e->policy[i]->head, &e->policy[i]->listeners, &e->policy[i]->address, d);
		check_moments(e->policy[i], d);
	}
	for (size_t i = 0; i < e->scanner_n; i++) {
		check_one(
		    e, &e->scanner[i]->head, &e->scanner[i]->listeners, &e->scanner[i]->address, d);
		check_service(e->scanner[i], d);
	}
}

bool filter_conf_in(const struct conf_strings *domains, struct span address)
{
	struct buf bare = BUF_INIT(SMTP_ADDRESS_MAX); /* of user+detail@domain without +detail */
	size_t at = span_rfind(address, '@'), plus = span_find(span_first(address, at), '+');
	bool in = domains->n == 0;
	if (at != SIZE_MAX && plus != SIZE_MAX && plus > 0)
		buf_printf(
		    &bare, "%.*s%.*s", (int)plus, address.p, SPAN_ARG(span_from(address, at)));
	for (size_t i = 0; i < domains->n && !in; i++)
		in = pattern_means(domains->v[i], address) ||
		     (buf_len(&bare) > 0 && pattern_means(domains->v[i], buf_span(&bare)));
	buf_end(&bare);
	return in;
}

bool filter_wish_of_all(const struct filter_wish *w)
{
	return w->domains->n == 0 && (w->words == NULL || w->words->n == 0);
}

static bool has_word(const struct conf_strings *words, const struct recipient *r)
{
	for (size_t i = 0; words != NULL && i < words->n && r->filters != NULL; i++)
		if (span_has_word(span_str(r->filters), span_str(words->v[i])))
			return true;
	for (size_t i = 0; i < r->member_count; i++)
		if (has_word(words, &r->members[i]))
			return true;
	return false;
}

bool filter_wanted_by(const struct filter_wish *w, const struct recipient *r)
{
	if (filter_wish_of_all(w))
		return true;
	bool named = w->domains->n > 0 && filter_conf_in(w->domains, span_str(r->address));
	return named || has_word(w->words, r);
}

bool filter_wanted(const struct filter_wish *w, const struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (filter_wanted_by(w, &t->recipients[i]))
			return true;
	return filter_wish_of_all(w);
}

bool filter_wanted_at_rcpt(const struct filter_wish *w, const struct mail *m)
{
	const struct transaction *t = m->t;
	bool last = m->to_new && t->recipient_count > 0;
	if (last && filter_wanted_by(w, &t->recipients[t->recipient_count - 1]))
		return true;
	return filter_wish_of_all(w) ||
	       (w->domains->n > 0 && filter_conf_in(w->domains, smtp_path_text(&m->to)));
}

bool filter_conf_has_any(const struct edge_conf *c, const char *listener)
{
	bool any = false;
	for (size_t i = 0; i < c->milter_n && !any; i++)
		any = edge_names_listener(&c->milter[i]->listeners, listener);
	for (size_t i = 0; i < c->scanner_n && !any; i++)
		any = edge_names_listener(&c->scanner[i]->listeners, listener);
	return any;
}
