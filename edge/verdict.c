/* verdict.c - what becomes of a finding, recipient by recipient (part of step 4). Owns nothing. */
#include "edge/verdict.h"

#include "base/check.h"
#include "base/mem.h"

#include "edge/outcome.h"
#include "edge/pattern.h"

#define CONF_BLOCK edge_verdict
#define CONF_DEF "edge/edge_verdict.params.def"
#define CONF_PROSE                                                                                 \
	"What some recipients want done with mail in which a milter (by quarantine) or a scanner " \
	"has found something."
#include "conf/params_table.h"

static bool names(const struct conf_strings *list, const char *filter)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->v[i], filter) == 0)
			return true;
	return list->n == 0;
}

static const struct edge_verdict_conf *rule_of(
    const struct edge_conf *c, const char *filter, const char *address)
{
	for (size_t i = 0; i < c->verdict_n; i++) {
		const struct edge_verdict_conf *v = c->verdict[i];
		for (size_t k = 0; k < v->recipient.n && names(&v->filters, filter); k++)
			if (pattern_means(v->recipient.v[k], span_str(address)))
				return v;
	}
	return NULL;
}

/* LEFT_ALONE: it does not want the filter, or is refused already. */
enum { LEFT_ALONE = -1 };

static int action_of(const struct edge_conf *c, const struct recipient *r,
    const struct verdict_hit *hit, const char **folder_out)
{
	const struct edge_verdict_conf *v = hit->firm ? NULL : rule_of(c, hit->filter, r->address);
	*folder_out = NULL;
	if (r->outcome.fate == FATE_REFUSED || !filter_wanted_by(&hit->wanted, r))
		return LEFT_ALONE;
	*folder_out = v != NULL ? v->folder : hit->folder;
	return v != NULL ? v->action : hit->action;
}

static void file_into(struct recipient *r, const char *folder)
{
	for (size_t i = 0; i < r->member_count; i++)
		file_into(&r->members[i], folder);
	if (r->user == NULL) /* elsewhere nobody knows our folders */
		return;
	mem_free(r->detail);
	r->detail = mem_str(folder);
}

static void refuse(struct recipient *r, const struct milter_text *words)
{
	static const struct milter_text ours = {
		.code = 550, .enhanced = "5.7.1", .text = "refused by a filter"
	};
	const struct milter_text *w = words != NULL ? words : &ours;
	struct span text = span_str(w->text);
	outcome_set(&r->outcome, FATE_REFUSED, w->code,
	    w->enhanced[0] != '\0' ? w->enhanced : "5.7.1", span_cut(&text, '\n'));
}

/* Not what must end the message for all; false: the recipient is to be taken out. */
static bool apply_one(
    struct recipient *r, int action, const char *folder, const struct verdict_hit *hit)
{
	switch (action) {
	case EDGE_VERDICT_REFUSE:
		refuse(r, hit->refusal);
		return true;
	case EDGE_VERDICT_HOLD:
		if (r->hold_why == NULL)
			r->hold_why = mem_str(hit->why != NULL ? hit->why : "held for a filter");
		return true;
	case EDGE_VERDICT_FOLDER:
		file_into(r, folder);
		return true;
	case EDGE_VERDICT_DISCARD:
		return false;
	default:
		return true;
	}
}

static size_t count(const struct edge_conf *c, const struct transaction *t,
    const struct verdict_hit *hit, int action)
{
	const char *folder;
	size_t n = 0;
	for (size_t i = 0; i < t->recipient_count; i++)
		n += action_of(c, &t->recipients[i], hit, &folder) == action;
	return n;
}

enum verdict_end verdict_apply(
    const struct edge_conf *c, struct transaction *t, const struct verdict_hit *hit)
{
	const char *folder;
	size_t refused = count(c, t, hit, EDGE_VERDICT_REFUSE);
	size_t discard = count(c, t, hit, EDGE_VERDICT_DISCARD);
	size_t before = 0;
	for (size_t i = 0; i < t->recipient_count; i++)
		before += t->recipients[i].outcome.fate == FATE_REFUSED;
	if (discard == t->recipient_count)
		return VERDICT_DISCARD;
	if (refused + discard > 0 &&
	    before + refused + discard == t->recipient_count) /* nobody is left who takes it */
		return VERDICT_REFUSE;
	for (size_t i = t->recipient_count; i-- > 0;) {
		struct recipient *r = &t->recipients[i];
		int action = action_of(c, r, hit, &folder);
		if (!apply_one(r, action, folder, hit))
			transaction_remove(t, span_str(r->address));
	}
	return VERDICT_ON;
}

bool verdict_refused_any(const struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		if (t->recipients[i].outcome.fate == FATE_REFUSED)
			return true;
	return false;
}

/* ---- settings --------------------------------------------------------------------------------- */

/* It travels as a sub-address. */
static bool folder_ok(const char *folder)
{
	for (const char *p = folder; *p != '\0'; p++) {
		unsigned char u = (unsigned char)*p;
		if (!ascii_is_alpha(u) && !ascii_is_digit(u) && strchr("-_/=", *p) == NULL)
			return false;
	}
	return folder[0] != '\0';
}

static void check_folder(const struct conf_head *head, const char *folder, struct conf_diag *d)
{
	if (folder != NULL && !folder_ok(folder))
		conf_error(d, head->pos, "folder: only letters, digits and - _ / =");
}

static bool is_filter(const struct edge_conf *c, const char *name)
{
	bool found = false;
	for (size_t i = 0; i < c->milter_n && !found; i++)
		found = strcmp(c->milter[i]->head.title, name) == 0;
	for (size_t i = 0; i < c->scanner_n && !found; i++)
		found = strcmp(c->scanner[i]->head.title, name) == 0;
	return found;
}

void verdict_check(const struct edge_conf *c, struct conf_diag *d)
{
	for (size_t i = 0; i < c->milter_n; i++)
		check_folder(&c->milter[i]->head, c->milter[i]->folder, d);
	for (size_t i = 0; i < c->scanner_n; i++)
		check_folder(&c->scanner[i]->head, c->scanner[i]->folder, d);
	for (size_t i = 0; i < c->verdict_n; i++) {
		const struct edge_verdict_conf *v = c->verdict[i];
		check_folder(&v->head, v->folder, d);
		for (size_t k = 0; k < v->filters.n; k++)
			if (!is_filter(c, v->filters.v[k]))
				conf_error(d, v->head.pos, "there is no milter or scanner \"%s\"",
				    v->filters.v[k]);
	}
}
