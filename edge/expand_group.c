/* expand_group.c - may this sender post to the group? Then its members, or its moderators (part of expand.c).
 *
 * Steps, in this order: moderators may always post; who is disallowed may not; when somebody is allowed, all
 * others may not; then the policy (SMTP AUTH; a password, which shape.h asks for when the message is here) and the size. A refused post goes to the moderators, and to nobody
 * else, where the group says so. An address of ours counts only when its client is one of ours: anybody can
 * write it into MAIL FROM. */
#include "edge/expand_internal.h"

#include "base/check.h"
#include "base/mem.h"

enum { LEFT_OUT_MAX = 4096 };

struct group_copy {
	const struct group *group; /* owned reference */
	char *address;             /* owned: as it was followed */
	bool domain_allowed;
	bool to_moderators;
	bool wants_password; /* the message will have to give it */
};

void expand_group_end(struct expand *x)
{
	if (x->group == NULL)
		return;
	directory_group_unref(&x->group->group);
	mem_free(x->group->address);
	MEM_FREE(&x->group);
}

/* ---- members ---------------------------------------------------------------------------------- */

/* The fields of the inner group stand above those of the outer ones; what does not fit is left out. */
static char *fields_of(const struct group *g, const struct scope *outer)
{
	struct buf b = BUF_INIT(GROUP_FIELDS_MAX);
	const char *text = g->fields.p;
	char *fields = NULL;
	for (size_t i = 0; i < g->fields.n; i++, text = text_list_next(text))
		buf_printf(&b, "%s\r\n", text);
	size_t more = outer != NULL && outer->fields != NULL ? strlen(outer->fields) : 0;
	if (buf_len(&b) + more <= GROUP_FIELDS_MAX)
		buf_add_str(&b, more > 0 ? outer->fields : "");
	if (buf_len(&b) > 0)
		fields = mem_span_str(buf_span(&b));
	buf_end(&b);
	return fields;
}

static struct scope *scope_new(struct expand *x, const struct group *g, bool members)
{
	struct scope *s = MEM_NEW(struct scope);
	struct shape_opts shape = { .group = g,
		.outer = x->now->scope != NULL ? x->now->scope->shape : NULL,
		.wants = x->group->wants_password,
		.without = x->group->to_moderators,
		.texts = members,
		.refused =
		    g->reject_text != NULL ? g->reject_text : "this group wants a password" };
	s->outer = x->now->scope;
	s->shape = shape_new(&shape);
	s->size_max = g->size_max;
	s->aside = x->group->to_moderators && x->group->wants_password;
	if (members) {
		bool is_list = g->errors_to != NULL && x->opts.sender.address.n > 0 &&
			       expand_counts(x, s->outer);
		x->ends += is_list;
		x->lists += is_list;
		s->sender = mem_str(g->errors_to);
		s->fields = fields_of(g, s->outer);
	}
	if (members && g->left_out.n > 0)
		s->left_out = map_new(LEFT_OUT_MAX);
	list_add_tail(&x->scopes, &s->link);
	return s;
}

static char *group_chain(const struct expand *x)
{
	struct buf b = BUF_INIT(16 * 1024);
	buf_printf(&b, "%s%s\n", x->now->chain, x->group->address);
	char *chain = mem_span_str(buf_span(&b));
	buf_end(&b);
	return chain;
}

static void push_list(struct expand *x, enum item_kind kind, const struct text_list *list,
    const char *chain, const struct scope *scope)
{
	const char *text = list->p;
	for (size_t i = 0; i < list->n; i++, text = text_list_next(text))
		expand_push(x, kind, text, chain, scope);
}

/* Values that are addresses or LDAP URLs. */
static void push_values(
    struct expand *x, const struct text_list *list, const char *chain, const struct scope *scope)
{
	const char *text = list->p;
	for (size_t i = 0; i < list->n; i++, text = text_list_next(text))
		expand_push(x,
		    span_istarts(span_str(text), SPAN("ldap:")) ? ITEM_MEMBERS : ITEM_ADDRESS, text,
		    chain, scope);
}

static bool may_put_off(const struct expand *x)
{
	return (x->group->group->delivery & ACCOUNT_TO_LATER) != 0 && expand_may_put_off(x);
}

/* Those who are left out first: they are known before the members are looked at. */
static void to_members(struct expand *x)
{
	const struct group *g = x->group->group;
	if (may_put_off(x)) {
		x->now->scope = scope_new(x, g, false);
		expand_put_off(x, x->group->address);
		expand_group_end(x);
		expand_go_on(x);
		return;
	}
	struct scope *scope = scope_new(x, g, true);
	char *chain = group_chain(x);
	push_list(x, ITEM_LEFT_OUT, &g->left_out, chain, scope);
	if (g->delivery & ACCOUNT_TO_MAILBOX) {
		push_values(x, &g->members, chain, scope);
		push_list(x, ITEM_MEMBERS, &g->entries, chain, scope);
		push_list(x, ITEM_MEMBERS, &g->searches, chain, scope);
	}
	if (g->delivery & ACCOUNT_TO_FORWARDS)
		push_list(x, ITEM_ADDRESS, &g->forwards, chain, scope);
	mem_free(chain);
	expand_group_end(x);
	expand_go_on(x);
}

static void push_moderators(struct expand *x)
{
	const struct group *g = x->group->group;
	char *chain = group_chain(x);
	x->group->to_moderators = true;
	push_values(x, &g->moderators, chain, scope_new(x, g, false));
	x->group->to_moderators = false;
	mem_free(chain);
}

static void to_moderators(struct expand *x)
{
	x->group->wants_password = false;
	push_moderators(x);
	expand_group_end(x);
	expand_go_on(x);
}

static void reject(struct expand *x, const char *why)
{
	const struct group *g = x->group->group;
	if (g->reject_to_moderator && g->moderators.n > 0) {
		to_moderators(x);
		return;
	}
	char *text = mem_str(g->reject_text != NULL ? g->reject_text : why);
	expand_group_end(x);
	expand_refuse(x, 550, "5.7.2", text);
	mem_free(text);
}

/* ---- domains ---------------------------------------------------------------------------------- */

static struct span sender_domain(const struct expand *x)
{
	struct span sender = x->opts.sender.address;
	size_t at = span_rfind(sender, '@');
	return at == SIZE_MAX ? SPAN_NONE : span_from(sender, at + 1);
}

static bool domain_in(const struct expand *x, const struct text_list *patterns)
{
	struct span domain = sender_domain(x);
	const char *text = patterns->p;
	for (size_t i = 0; i < patterns->n; i++, text = text_list_next(text))
		if (domain.n > 0 && span_is_like(domain, span_str(text)))
			return true;
	return false;
}

/* ---- steps ------------------------------------------------------------------------------------ */

static void check_rest(struct expand *x)
{
	const struct group *g = x->group->group;
	bool auth = x->opts.sender.user != NULL;
	bool either = g->any_of_both && g->wants_auth && g->wants_password;
	bool wants_password = g->wants_password && !(g->any_of_both && auth);
	if (g->wants_auth && !auth && !either)
		reject(x, "only authenticated senders may write to this group");
	else if (wants_password && g->password == NULL)
		reject(x, "this group wants a password, and has none");
	else if (x->opts.sender.size > g->size_max) {
		expand_group_end(x);
		expand_refuse(x, 552, "5.2.3", "the message is too big for this group");
	} else {
		x->group->wants_password = wants_password;
		if (wants_password && g->reject_to_moderator)
			push_moderators(x);
		to_members(x);
	}
}

static void on_allowed(void *arg, enum directory_status has)
{
	struct expand *x = OBJ(expand, arg);
	x->wait = NULL;
	if (has == DIRECTORY_UNKNOWN)
		expand_stop(x, 451, "4.3.0", "cannot look up now who may write to this group");
	else if (has == DIRECTORY_FOUND)
		check_rest(x);
	else
		reject(x, "you may not write to this group");
}

static void check_allowed(struct expand *x)
{
	const struct group *g = x->group->group;
	if (g->allowed.n == 0 && g->allowed_domains.n == 0)
		check_rest(x);
	else if (x->group->domain_allowed)
		check_rest(x);
	else
		x->wait = expand_has(&x->opts, g->allowed, on_allowed, x);
}

/* A domain of ours, claimed by a stranger, allows nothing. */
static void on_domain(void *arg, enum directory_status status)
{
	struct expand *x = OBJ(expand, arg);
	x->wait = NULL;
	if (status == DIRECTORY_UNKNOWN) {
		expand_stop(x, 451, "4.3.0", "cannot look up now who may write to this group");
		return;
	}
	x->group->domain_allowed = status == DIRECTORY_ABSENT;
	check_allowed(x);
}

static void check_domains(struct expand *x)
{
	const struct group *g = x->group->group;
	bool allowed = domain_in(x, &g->allowed_domains);
	if (domain_in(x, &g->disallowed_domains)) {
		reject(x, "your domain may not write to this group");
	} else if (allowed && !x->opts.sender.trusted) {
		x->wait = directory_domain(x->opts.directory, sender_domain(x), on_domain, x);
	} else {
		x->group->domain_allowed = allowed;
		check_allowed(x);
	}
}

static void on_disallowed(void *arg, enum directory_status has)
{
	struct expand *x = OBJ(expand, arg);
	x->wait = NULL;
	if (has == DIRECTORY_UNKNOWN)
		expand_stop(x, 451, "4.3.0", "cannot look up now who may write to this group");
	else if (has == DIRECTORY_FOUND)
		reject(x, "you may not write to this group");
	else
		check_domains(x);
}

static void check_disallowed(struct expand *x)
{
	struct expand_opts opts = x->opts;
	if (x->group->group->disallowed.n == 0) {
		check_domains(x);
		return;
	}
	opts.sender.trusted = true; /* whoever claims to be one of them is one */
	x->wait = expand_has(&opts, x->group->group->disallowed, on_disallowed, x);
}

static void on_moderator(void *arg, enum directory_status has)
{
	struct expand *x = OBJ(expand, arg);
	x->wait = NULL;
	if (has == DIRECTORY_UNKNOWN)
		expand_stop(x, 451, "4.3.0", "cannot look up now who may write to this group");
	else if (has == DIRECTORY_FOUND)
		to_members(x);
	else
		check_disallowed(x);
}

static bool is_refused(struct expand *x, enum account_status status)
{
	switch (status) {
	case ACCOUNT_ACTIVE:
	case ACCOUNT_OVERQUOTA: /* of the domain: each member's own counts */
		return false;
	case ACCOUNT_DISABLED:
		expand_refuse(x, 550, "5.2.1", "the group is disabled");
		return true;
	case ACCOUNT_DELETED:
		expand_refuse(x, 550, "5.1.1", "no such mailbox");
		return true;
	case ACCOUNT_INACTIVE:
	case ACCOUNT_HOLD:
	case ACCOUNT_DEFER:
		break;
	}
	expand_refuse(x, 450, "4.2.1", "the group takes no mail now");
	return true;
}

void expand_group(struct expand *x, const struct target *t)
{
	const struct group *g = t->group;
	bool hold = t->status == ACCOUNT_ACTIVE && (g->delivery & ACCOUNT_TO_HOLD) != 0;
	if (!x->asks_has && is_refused(x, hold ? ACCOUNT_HOLD : t->status))
		return;
	x->group = MEM_NEW(struct group_copy);
	x->group->group = directory_group_ref(g);
	x->group->address = mem_str(t->address);
	if (x->asks_has || (x->opts.posted && x->now->depth == 0))
		to_members(x);
	else if (g->moderators.n > 0)
		x->wait = expand_has(&x->opts, x->group->group->moderators, on_moderator, x);
	else
		check_disallowed(x);
}

/* ---- is the sender among them? ---------------------------------------------------------------- */

/* A stranger who gives an address of ours as its sender is not believed. */
static void on_own(void *arg, enum directory_status status, const struct target *t)
{
	struct expand *x = OBJ(expand, arg);
	bool ours = status == DIRECTORY_FOUND || (t != NULL && t->kind != TARGET_ELSEWHERE);
	x->wait = NULL;
	if (status == DIRECTORY_UNKNOWN) {
		expand_give_has(x, DIRECTORY_UNKNOWN);
	} else if (ours && !x->opts.sender.trusted) {
		expand_give_has(x, DIRECTORY_ABSENT);
	} else {
		if (status == DIRECTORY_FOUND && t->kind == TARGET_USER)
			x->own_user = mem_str(t->user->user);
		x->own_address = mem_span_str(x->opts.sender.address);
		soon_set(x->opts.loop, &x->next);
	}
}

struct ticket *expand_has(
    const struct expand_opts *opts, struct text_list values, expand_has_fn *fn, void *arg)
{
	struct expand *x = expand_new(opts, arg);
	const char *text = values.p;
	x->has_fn = fn;
	x->asks_has = true;
	for (size_t i = 0; i < values.n; i++, text = text_list_next(text))
		expand_push(x,
		    span_istarts(span_str(text), SPAN("ldap:")) ? ITEM_MEMBERS : ITEM_ADDRESS, text,
		    "", NULL);
	x->wait = directory_target(opts->directory, opts->sender.address, on_own, x);
	return &x->ticket;
}
