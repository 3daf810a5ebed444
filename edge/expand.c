/* expand.c - an address followed to those who get its mail, one question at a time (part of step 3, envelope.c).
 *
 * Owns a struct expand for each address: what is still to be followed, what was seen, and the members found.
 * Groups, and whether a sender is in them, are expand_group.c's. */
#include "edge/expand_internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "edge/channel.h"
#include "edge/edge_tables.h"
#include "edge/outcome.h"
#include "proto/smtp_path.h"

enum { CHAIN_MAX = 16 * 1024, FILTER_WORDS_MAX = 32 * 1024 /* of both records */ };

static const char unknown_text[] = "cannot look up the mailbox now";

/* ---- life ------------------------------------------------------------------------------------- */

static void item_free(struct item *it)
{
	if (it == NULL)
		return;
	list_remove(&it->link);
	mem_free(it->text);
	mem_free(it->chain);
	mem_free(it);
}

static void scope_free(struct scope *s)
{
	list_remove(&s->link);
	mem_free(s->sender);
	mem_free(s->fields);
	shape_unref(&s->shape);
	map_free(&s->left_out);
	mem_free(s);
}

static void expand_free(struct expand *x)
{
	ticket_cancel(&x->wait);
	timer_clear(&x->deadline);
	soon_clear(&x->next);
	expand_group_end(x);
	item_free(x->now);
	while (!list_empty(&x->todo))
		item_free(LIST_OF(struct item, link, x->todo.next));
	while (!list_empty(&x->scopes))
		scope_free(LIST_OF(struct scope, link, x->scopes.next));
	map_free(&x->seen);
	recipients_free(x->members, x->n);
	mem_free(x->own_user);
	mem_free(x->own_address);
	mem_free(x->via);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	expand_free(OBJ(expand, t));
}

void expand_give_has(struct expand *x, enum directory_status has)
{
	expand_has_fn *fn = x->has_fn;
	void *arg = x->arg;
	expand_free(x);
	fn(arg, has);
}

static void give(struct expand *x)
{
	struct expansion out = x->out;
	expand_fn *fn = x->fn;
	void *arg = x->arg;
	out.via = x->via;
	x->via = NULL;
	if (out.members != NULL) {
		x->members = NULL;
		x->n = 0;
	}
	expand_free(x);
	fn(arg, &out);
	recipients_free(out.members, out.n);
	mem_free(out.via);
}

void expand_stop(struct expand *x, unsigned code, const char *enhanced, const char *text)
{
	if (x->asks_has) {
		expand_give_has(x, DIRECTORY_UNKNOWN);
		return;
	}
	x->out.end = EXPAND_REFUSED;
	x->out.code = code;
	x->out.enhanced = enhanced;
	x->out.text = text;
	give(x);
}

bool expansion_goes_apart(const struct expansion *e)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct recipient *r = &e->members[i];
		bool leaves = r->user == NULL && r->outcome.fate == FATE_OPEN;
		if (r->sender != NULL || r->fields != NULL || shape_changes(r->shape) ||
		    (leaves && !channel_is_place(r->store)))
			return true;
	}
	return false;
}

void expansion_take(struct expansion *e, struct recipient *r)
{
	r->members = e->members;
	r->member_count = e->n;
	r->via = e->via;
	r->behind = e->behind;
	e->members = NULL;
	e->n = 0;
	e->via = NULL;
}

/* ---- what is left to do ----------------------------------------------------------------------- */

void expand_push(struct expand *x, enum item_kind kind, const char *text, const char *chain,
    const struct scope *scope)
{
	struct item *it = MEM_NEW(struct item);
	it->kind = kind;
	it->text = mem_str(text);
	it->chain = mem_str(chain);
	it->scope = scope;
	it->depth = x->now != NULL ? x->now->depth + 1 : 0;
	list_add_tail(&x->todo, &it->link);
}

void expand_go_on(struct expand *x)
{
	item_free(x->now);
	x->now = NULL;
	soon_set(x->opts.loop, &x->next);
}

/* False: it was there. what: tells keys of one kind from another's. */
static bool see(struct expand *x, char what, struct span address)
{
	struct buf key = BUF_INIT(1024);
	const struct scope *scope = x->now->scope;
	buf_add_char(&key, what);
	if (scope != NULL &&
	    shape_asks(scope->shape)) /* on one condition, and perhaps on another too */
		buf_printf(&key, "%p ", (const void *)scope->shape);
	for (size_t i = 0; i < address.n; i++)
		buf_add_char(&key, ascii_lower(address.p[i]));
	bool fresh =
	    map_get(x->seen, buf_span(&key)) == NULL && map_set(x->seen, buf_span(&key), x, NULL);
	buf_end(&key);
	return fresh;
}

bool expand_in_chain(const struct item *it, const char *address)
{
	struct span rest = span_str(it->chain);
	while (rest.n > 0)
		if (span_ieq_str(span_cut(&rest, '\n'), address))
			return true;
	return false;
}

/* The chain of what the item leads to by way of `address`. */
static char *chain_with(const struct item *it, const char *address)
{
	struct buf b = BUF_INIT(CHAIN_MAX);
	buf_printf(&b, "%s%s\n", it->chain, address);
	char *chain = mem_span_str(buf_span(&b));
	buf_end(&b);
	return chain;
}

/* ---- members ---------------------------------------------------------------------------------- */

static const char *scope_sender(const struct scope *s)
{
	while (s != NULL && s->sender == NULL)
		s = s->outer;
	return s != NULL ? s->sender : NULL;
}

static uint64_t scope_size_max(const struct scope *s)
{
	uint64_t max = UINT64_MAX;
	for (; s != NULL; s = s->outer)
		max = s->size_max < max ? s->size_max : max;
	return max;
}

static bool is_left_out(const struct scope *s, const char *address)
{
	char lower[SMTP_PATH_SIZE];
	struct span a = span_str(address);
	if (a.n >= sizeof lower)
		return false;
	span_lower_to(lower, a);
	for (; s != NULL; s = s->outer)
		if (s->left_out != NULL && map_get(s->left_out, span_of(lower, a.n)) != NULL)
			return true;
	return false;
}

/* The null sender has no list between itself and the members. */
static bool is_list(const struct expand *x, const struct scope *s)
{
	return s->sender != NULL && x->opts.sender.address.n > 0;
}

bool expand_counts(const struct expand *x, const struct scope *s)
{
	while (s != NULL && !s->aside && !is_list(x, s))
		s = s->outer;
	return s == NULL;
}

static struct recipient *add_member(struct expand *x, const char *address)
{
	size_t n = x->n;
	if ((n & (n - 1)) == 0) /* full at 0, 1, 2, 4, 8 ... */
		x->members = mem_grow(x->members, n == 0 ? 1 : 2 * n, sizeof *x->members);
	struct recipient *r = &x->members[x->n++];
	x->ends += expand_counts(x, x->now->scope);
	const char *sender = scope_sender(x->now->scope);
	*r = (struct recipient){ .address = mem_str(address),
		.size_max = scope_size_max(x->now->scope) };
	if (sender != NULL && x->opts.sender.address.n > 0)
		r->sender = mem_str(sender);
	if (x->now->scope != NULL)
		r->fields = mem_str(x->now->scope->fields);
	if (x->now->scope != NULL && x->now->scope->shape != NULL)
		r->shape = shape_ref(x->now->scope->shape);
	return r;
}

static bool is_full(const struct expand *x)
{
	return x->n >= (size_t)x->opts.conf->expansion_max;
}

void expand_refuse(struct expand *x, unsigned code, const char *enhanced, const char *text)
{
	if (x->asks_has) {
		expand_go_on(x);
	} else if (x->now->depth == 0 || code < 500) {
		expand_stop(x, code, enhanced, text);
	} else if (is_full(x)) {
		expand_stop(x, 452, "4.5.3", "too many recipients behind this address");
	} else {
		struct recipient *r = add_member(x, x->now->text);
		outcome_set(&r->outcome, FATE_REFUSED, code, enhanced, span_str(text));
		expand_go_on(x);
	}
}

static bool see_way(
    struct expand *x, const char *address, const struct account *user, const char *place)
{
	const char *who = user != NULL ? user->user : address;
	struct buf key = BUF_INIT(2048);
	if (place != NULL)
		buf_printf(&key, "%s ", place);
	buf_add_str(&key, who);
	bool fresh = see(x, place != NULL ? 'c' : user != NULL ? 'u' : 'r', buf_span(&key));
	buf_end(&key);
	return fresh;
}

/* NULL: none. */
static char *filters_of(const struct account *user)
{
	const struct text_list *const lists[] = { &user->filters, &user->domain_filters };
	struct buf words = BUF_INIT(FILTER_WORDS_MAX);
	char *text = NULL;
	for (size_t k = 0; k < COUNT_OF(lists); k++) {
		const char *word = lists[k]->p;
		for (size_t i = 0; i < lists[k]->n; i++, word = text_list_next(word))
			buf_printf(&words, "%s%s", buf_len(&words) > 0 ? " " : "", word);
	}
	if (buf_len(&words) > 0)
		text = mem_span_str(buf_span(&words));
	buf_end(&words);
	return text;
}

struct recipient *expand_take(
    struct expand *x, const char *address, const struct account *user, const char *place)
{
	struct smtp_path path;
	struct span name, detail = SPAN_NONE;
	if (!see_way(x, address, user, place))
		return NULL;
	struct recipient *r = add_member(x, address);
	r->store = mem_str(place != NULL ? place : user != NULL ? user->hosts[0] : NULL);
	if (user == NULL)
		return r;
	if (!smtp_address_parse(span_str(x->now->text), SMTP_PATH_UTF8_OK, &path, NULL))
		smtp_path_split(&path, '+', &name, &detail);
	r->user = mem_str(user->user);
	r->filters = filters_of(user);
	r->detail = detail.n > 0 ? mem_span_str(detail) : NULL;
	return r;
}

void expand_push_all(struct expand *x, struct text_list list, const char *address)
{
	char *chain = chain_with(x->now, address);
	const char *text = list.p;
	for (size_t i = 0; i < list.n; i++, text = text_list_next(text))
		expand_push(x, ITEM_ADDRESS, text, chain, x->now->scope);
	mem_free(chain);
}

/* ---- what the directory says ------------------------------------------------------------------ */

static void follow_others(struct expand *x, const struct target *t)
{
	if (!x->asks_has && t->status != ACCOUNT_ACTIVE) {
		expand_refuse_by_status(x, t->status);
		return;
	}
	if (!expand_in_chain(x->now, t->address))
		expand_push_all(x, t->others, t->address);
	expand_go_on(x);
}

static void elsewhere(struct expand *x)
{
	struct span address = span_str(x->now->text);
	if (x->now->depth == 0) {
		x->out.end = EXPAND_ELSEWHERE;
		give(x);
	} else if (span_find(address, '[') != SIZE_MAX) {
		expand_refuse(x, 550, "5.1.2", "mail is not relayed to address literals");
	} else {
		expand_take(x, x->now->text, NULL, NULL);
		expand_go_on(x);
	}
}

static void nobody(struct expand *x)
{
	if (x->now->depth == 0 && !x->asks_has) {
		x->out.end = EXPAND_NOBODY;
		x->out.code = 550;
		x->out.enhanced = "5.1.1";
		x->out.text = "no such mailbox";
		give(x);
		return;
	}
	expand_refuse(x, 550, "5.1.1", "no such mailbox");
}

/* expand_has(): is this the sender? */
static bool is_sender(const struct expand *x, const struct target *t, enum directory_status status)
{
	if (status == DIRECTORY_FOUND && t->kind == TARGET_USER)
		return x->own_user != NULL && strcmp(t->user->user, x->own_user) == 0;
	return status == DIRECTORY_ABSENT && x->own_address != NULL &&
	       span_ieq_str(span_str(x->now->text), x->own_address);
}

static void follow(struct expand *x, const struct target *t)
{
	switch (t->kind) {
	case TARGET_USER:
		if (x->asks_has)
			expand_go_on(x);
		else
			expand_user(x, t);
		break;
	case TARGET_GROUP:
		if (expand_in_chain(x->now, t->address))
			expand_go_on(x);
		else
			expand_group(x, t);
		break;
	case TARGET_OTHERS:
		follow_others(x, t);
		break;
	case TARGET_ELSEWHERE:
		BUG("found elsewhere");
	}
}

static void on_target(void *arg, enum directory_status status, const struct target *t)
{
	struct expand *x = OBJ(expand, arg);
	x->wait = NULL;
	if (status == DIRECTORY_UNKNOWN)
		expand_stop(x, 451, "4.3.0", unknown_text);
	else if (x->asks_has && is_sender(x, t, status))
		expand_give_has(x, DIRECTORY_FOUND);
	else if (status == DIRECTORY_FOUND) {
		if (x->now->depth == 0)
			x->via = mem_str(t->address);
		follow(x, t);
	} else if (t->kind == TARGET_ELSEWHERE && !x->asks_has)
		elsewhere(x);
	else
		nobody(x);
}

/* ---- items ------------------------------------------------------------------------------------ */

static void leave_out(struct scope *s, const char *address)
{
	char lower[SMTP_PATH_SIZE];
	struct span a = span_str(address);
	if (a.n >= sizeof lower)
		return;
	span_lower_to(lower, a);
	map_set(s->left_out, span_of(lower, a.n), s, NULL);
}

/* An entry that is gone is no member any more; a search that cannot be made is the whole group's trouble. */
static void on_members(void *arg, enum directory_status status, struct text_list addresses)
{
	struct expand *x = OBJ(expand, arg);
	const char *text = addresses.p;
	x->wait = NULL;
	if (status == DIRECTORY_UNKNOWN) {
		expand_stop(x, 451, "4.3.0", unknown_text);
		return;
	}
	if (addresses.n > (size_t)x->opts.conf->expansion_max) {
		expand_stop(x, 452, "4.5.3", "too many recipients behind this address");
		return;
	}
	for (size_t i = 0; i < addresses.n; i++, text = text_list_next(text))
		if (x->now->kind == ITEM_LEFT_OUT)
			leave_out((struct scope *)(uintptr_t)x->now->scope, text);
		else
			expand_push(x, ITEM_ADDRESS, text, x->now->chain, x->now->scope);
	expand_go_on(x);
}

static void start_address(struct expand *x)
{
	struct item *it = x->now;
	struct smtp_path path;
	if (span_istarts(span_str(it->text), SPAN("mailto:")))
		memmove(it->text, it->text + 7, strlen(it->text + 7) + 1);
	bool bare = it->depth == 0 && span_find(span_str(it->text), '@') == SIZE_MAX;
	bool ok = bare || !smtp_address_parse(span_str(it->text),
			      it->depth == 0 ? SMTP_PATH_UTF8_OK : 0u, &path, NULL);
	if (ok && !bare) {
		mem_free(it->text);
		it->text = mem_str(path.address);
	}
	if (!ok)
		expand_refuse(x, 550, "5.1.3", "a member's address is no address");
	else if (is_left_out(it->scope, it->text) ||
		 (!see(x, 'a', span_str(it->text)) && !expand_in_chain(it, it->text)) ||
		 expand_by_address(x))
		expand_go_on(x);
	else
		x->wait = directory_target(x->opts.directory, span_str(it->text), on_target, x);
}

static void start_item(struct expand *x)
{
	if (x->now->kind == ITEM_ADDRESS)
		start_address(x);
	else
		x->wait =
		    directory_members(x->opts.directory, span_str(x->now->text), on_members, x);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static const struct outcome *first_with(const struct expand *x, enum fate fate)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->members[i].outcome.fate == fate)
			return &x->members[i].outcome;
	return NULL;
}

static enum behind behind(const struct expand *x)
{
	if (x->ends > 1)
		return BEHIND_SEVERAL;
	return x->lists > 0 ? BEHIND_LIST : BEHIND_ONE;
}

static void finish(struct expand *x)
{
	const struct outcome *later = first_with(x, FATE_LATER);
	const struct outcome *refused = first_with(x, FATE_REFUSED);
	bool open = false;
	for (size_t i = 0; i < x->n; i++)
		open = open || x->members[i].outcome.fate == FATE_OPEN;
	if (x->asks_has) {
		expand_give_has(x, DIRECTORY_ABSENT);
	} else if (open || x->held) {
		x->out.end = EXPAND_TAKEN;
		x->out.held = !open;
		x->out.behind = behind(x);
		x->out.members = x->members;
		x->out.n = x->n;
		give(x);
	} else if (later != NULL || refused != NULL) {
		struct outcome o = later != NULL ? *later : *refused;
		recipients_free(x->members, x->n);
		x->members = NULL;
		x->n = 0;
		expand_stop(x, o.code, o.enhanced, o.text);
	} else {
		expand_stop(x, 550, "5.2.4", "there is nobody behind this address");
	}
}

static size_t steps_max(const struct expand *x)
{
	return 4 * (size_t)x->opts.conf->expansion_max + 64;
}

static void on_next(void *arg)
{
	struct expand *x = OBJ(expand, arg);
	struct list_node *n = list_pop(&x->todo);
	if (n == NULL) {
		finish(x);
		return;
	}
	x->now = LIST_OF(struct item, link, n);
	if (x->now->depth > (unsigned)x->opts.conf->expansion_depth)
		expand_stop(x, 451, "4.3.5", "aliases and groups are nested too deeply");
	else if (is_full(x) || ++x->steps > steps_max(x))
		expand_stop(x, 452, "4.5.3", "too many recipients behind this address");
	else
		start_item(x);
}

static void on_deadline(void *arg)
{
	expand_stop(OBJ(expand, arg), 451, "4.3.0", "looking up the recipients took too long");
}

struct expand *expand_new(const struct expand_opts *opts, void *arg)
{
	struct expand *x = MEM_NEW(struct expand);
	x->ticket.cancel = cancel;
	x->magic = expand_MAGIC;
	x->opts = *opts;
	x->arg = arg;
	list_init(&x->todo);
	list_init(&x->scopes);
	x->seen = map_new(3 * steps_max(x)); /* two keys a step at most: never full */
	timer_init(&x->deadline, opts->loop, on_deadline, x);
	soon_init(&x->next, on_next, x);
	timer_set(&x->deadline, opts->conf->expansion_timeout);
	return x;
}

struct ticket *expand_start(
    const struct expand_opts *opts, struct span address, expand_fn *fn, void *arg)
{
	struct expand *x = expand_new(opts, arg);
	char *text = mem_span_str(address);
	x->fn = fn;
	expand_push(x, ITEM_ADDRESS, text, "", NULL);
	mem_free(text);
	soon_set(opts->loop, &x->next);
	return &x->ticket;
}
