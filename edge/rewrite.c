/* rewrite.c - rules compiled from their blocks, and addresses put through them. Pure; owns the rules. */
#include "edge/rewrite.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"

#include "edge/edge_conf.h"

/* Words of edge_rewrite.client and .then. */
enum { CLIENT_ANY, CLIENT_OURS };
enum { THEN_STOP, THEN_AGAIN };

struct rule {
	const struct edge_rewrite_conf *conf;
	unsigned kinds;
	struct span local, domain; /* of the pattern; empty local: any */
	bool below;                /* domain is what "*." stands before; with an empty one: any */
};

struct rewrite {
	size_t n;
	struct rule v[];
};

/* ---- compiling --------------------------------------------------------------------------------- */

static unsigned kind_of(const char *word)
{
	static const char *const words[] = { "sender", "recipient", "from", "to" };
	for (unsigned i = 0; i < COUNT_OF(words); i++)
		if (span_ieq_str(span_str(word), words[i]))
			return 1u << i;
	return 0;
}

/* NULL: good; else why not. */
static const char *compile(const struct edge_rewrite_conf *c, struct rule *out)
{
	struct span pattern = span_str(c->pattern);
	size_t at = span_rfind(pattern, '@');
	*out = (struct rule){ .conf = c };
	for (size_t i = 0; i < c->address.n; i++) {
		unsigned kind = kind_of(c->address.v[i]);
		if (kind == 0)
			return "address: sender, recipient, from and to are known";
		out->kinds |= kind;
	}
	if (at == SIZE_MAX || at == 0 || at + 1 == pattern.n)
		return "pattern: this is not LOCAL@DOMAIN";
	out->local = span_first(pattern, at);
	out->domain = span_from(pattern, at + 1);
	if (span_eq_str(out->local, "*"))
		out->local = SPAN_NONE;
	out->below = span_starts(out->domain, SPAN("*"));
	if (span_eq_str(out->domain, "*"))
		out->domain = SPAN_NONE;
	else if (out->below)
		out->domain = span_from(out->domain, 1); /* with its dot */
	if (out->below && out->domain.n > 0 && out->domain.p[0] != '.')
		return "pattern: a * in the domain stands for whole labels: *.DOMAIN";
	if (span_find(out->local, '*') != SIZE_MAX || span_find(out->domain, '*') != SIZE_MAX)
		return "pattern: one * is all there may be on each side";
	return NULL;
}

struct rewrite *rewrite_new(const struct edge_conf *c)
{
	if (c->rewrite_n == 0)
		return NULL;
	struct rewrite *r = mem_alloc(sizeof *r + c->rewrite_n * sizeof r->v[0]);
	for (size_t i = 0; i < c->rewrite_n; i++)
		if (compile(c->rewrite[i], &r->v[r->n]) == NULL)
			r->n++;
	return r;
}

void rewrite_free(struct rewrite **r)
{
	MEM_FREE(r);
}

/* ---- matching ---------------------------------------------------------------------------------- */

static bool is_meant(const struct rule *r, unsigned kinds, const struct rewrite_facts *f)
{
	return (r->kinds & kinds) != 0 && (r->conf->client == CLIENT_ANY || f->ours) &&
	       edge_names_listener(&r->conf->listener, f->listener);
}

bool rewrite_wants(const struct rewrite *r, unsigned kinds, const struct rewrite_facts *f)
{
	for (size_t i = 0; r != NULL && i < r->n; i++)
		if (is_meant(&r->v[i], kinds, f))
			return true;
	return false;
}

/* *head_out: the part of the domain that "*." stands for. */
static bool fits(const struct rule *r, const struct smtp_path *p, struct span *head_out)
{
	struct span domain = smtp_path_domain(p);
	*head_out = SPAN_NONE;
	if (r->local.n > 0 && !span_ieq(r->local, smtp_path_local(p)))
		return false;
	if (!r->below)
		return span_ieq(r->domain, domain);
	if (r->domain.n == 0) {
		*head_out = domain;
		return true;
	}
	if (domain.n <= r->domain.n || !span_iends(domain, r->domain))
		return false;
	*head_out = span_first(domain, domain.n - r->domain.n);
	return true;
}

/* ---- templates --------------------------------------------------------------------------------- */

/* What stands behind a dollar sign; the rest of the template goes on behind it. False: nothing known. */
static bool put_variable(
    struct buf *out, struct span *rest, const struct smtp_path *p, struct span head)
{
	struct span user, detail;
	smtp_path_split(p, '+', &user, &detail);
	const struct {
		const char *name;
		struct span text;
	} variables[] = { { "U", smtp_path_local(p) }, { "0U", user }, { "1U", detail },
		{ "D", smtp_path_domain(p) }, { "H", head }, { "$", SPAN("$") } };
	for (size_t i = 0; i < COUNT_OF(variables); i++)
		if (span_starts(*rest, span_str(variables[i].name))) {
			*rest = span_from(*rest, strlen(variables[i].name));
			buf_add_span(out, variables[i].text);
			return true;
		}
	return false;
}

static bool put_template(
    struct buf *out, const char *template, const struct smtp_path *p, struct span head)
{
	struct span rest = span_str(template);
	bool ok = true;
	while (ok && rest.n > 0) {
		char c = rest.p[0];
		rest = span_from(rest, 1);
		if (c == '$')
			ok = put_variable(out, &rest, p, head);
		else
			buf_add_char(out, c);
	}
	return ok && buf_ok(out);
}

static bool apply(const struct rule *r, const struct smtp_path *p, struct smtp_path *out)
{
	struct buf text = BUF_INIT(SMTP_ADDRESS_MAX);
	struct span head;
	bool ok = fits(r, p, &head) && put_template(&text, r->conf->to, p, head) &&
		  !smtp_address_parse(buf_span(&text), p->utf8 ? SMTP_PATH_UTF8_OK : 0u, out, NULL);
	buf_end(&text);
	return ok;
}

static const struct rule *first_rule(const struct rewrite *r, enum rewrite_kind kind,
    const struct rewrite_facts *f, const struct smtp_path *p, struct smtp_path *out)
{
	for (size_t i = 0; i < r->n; i++)
		if (is_meant(&r->v[i], kind, f) && apply(&r->v[i], p, out))
			return &r->v[i];
	return NULL;
}

const char *rewrite_address(const struct rewrite *r, enum rewrite_kind kind,
    const struct rewrite_facts *f, struct smtp_path *address)
{
	struct smtp_path now = *address, next;
	const struct rule *last = NULL, *rule = NULL;
	if (r == NULL || address->kind != SMTP_PATH_MAILBOX)
		return NULL;
	for (unsigned pass = 0; pass < REWRITE_PASSES_MAX; pass++) {
		rule = first_rule(r, kind, f, &now, &next);
		bool changed =
		    rule != NULL && !span_eq(smtp_path_text(&next), smtp_path_text(&now));
		if (!changed)
			break;
		last = rule;
		now = next;
		if (rule->conf->then == THEN_STOP)
			break;
		if (pass + 1 == REWRITE_PASSES_MAX)
			return NULL;
	}
	if (last != NULL)
		*address = now;
	return last != NULL ? last->conf->head.title : NULL;
}

/* ---- settings ---------------------------------------------------------------------------------- */

/* A template is tried with an address that fits any pattern. */
static const char *check_template(const char *to)
{
	struct smtp_path sample, made;
	struct buf text = BUF_INIT(SMTP_ADDRESS_MAX);
	const char *why = NULL;
	CHECK(smtp_address_parse(SPAN("user+detail@domain.example"), 0, &sample, NULL) == ERR_OK);
	if (!put_template(&text, to, &sample, SPAN("head")))
		why = "to: $U, $0U, $1U, $D, $H and $$ are known";
	else if (smtp_address_parse(buf_span(&text), 0, &made, NULL))
		why = "to: this makes no address";
	buf_end(&text);
	return why;
}

void rewrite_check(const struct edge_conf *c, struct conf_diag *d)
{
	struct rule rule;
	for (size_t i = 0; i < c->rewrite_n; i++) {
		const struct edge_rewrite_conf *r = c->rewrite[i];
		if (r->head.title[0] == '\0')
			conf_error(d, r->head.pos, "a rule needs a name: rewrite NAME { ... }");
		if (r->pattern == NULL || r->to == NULL)
			continue; /* told already */
		const char *why = compile(r, &rule);
		if (why == NULL)
			why = check_template(r->to);
		if (why != NULL)
			conf_error(d, r->head.pos, "%s", why);
		for (size_t k = 0; k < r->listener.n; k++)
			if (edge_listener(c, r->listener.v[k]) == NULL)
				conf_error(d, r->head.pos, "there is no listener \"%s\"",
				    r->listener.v[k]);
	}
}
