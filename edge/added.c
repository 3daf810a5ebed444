/* added.c - recipients that filters add, looked up one after the other (part of step 4, filter.c).
 *
 * Owns a struct added for each list that is looked up. */
#include "edge/added.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/loop.h"
#include "proto/smtp_path.h"

#include "edge/edge_tables.h"

#define added_MAGIC 0xadded001u

struct added {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct added_opts opts;
	size_t at; /* the address that is looked up */
	struct smtp_path path;
	struct ticket *ask;
	struct soon next;
	void (*fn)(void *arg, bool known);
	void *arg;
};

static void added_free(struct added *a)
{
	ticket_cancel(&a->ask);
	soon_clear(&a->next);
	a->magic = 0;
	mem_free(a);
}

static void cancel(struct ticket *t)
{
	added_free(OBJ(added, t));
}

static void finish(struct added *a, bool known)
{
	void (*fn)(void *arg, bool known) = a->fn;
	void *arg = a->arg;
	added_free(a);
	fn(arg, known);
}

static void left_out(const struct added *a, const char *why)
{
	log_write(&edge_events[EDGE_EV_RECIPIENT_LEFT_OUT], a->opts.t->id.s,
	    LOG_FIELDS(LOG_STR("recipient", a->opts.addresses[a->at]), LOG_STR("why", why)));
}

static void go_on(struct added *a)
{
	a->at++;
	soon_set(a->opts.expand.loop, &a->next);
}

static bool is_there(const struct transaction *t, struct span address, const char *user)
{
	for (size_t i = 0; i < t->recipient_count; i++) {
		const struct recipient *r = &t->recipients[i];
		if (user != NULL && r->user != NULL && strcmp(r->user, user) == 0)
			return true;
		if (user == NULL && r->user == NULL && span_eq_str(address, r->address))
			return true;
	}
	return false;
}

/* e: NULL for somebody elsewhere. */
static void take(struct added *a, struct expansion *e)
{
	struct transaction *t = a->opts.t;
	struct span address = smtp_path_text(&a->path), user = SPAN_NONE, detail = SPAN_NONE;
	const struct recipient *plain = e != NULL && e->plain ? &e->members[0] : NULL;
	if (plain != NULL)
		smtp_path_split(&a->path, '+', &user, &detail);
	if (is_there(t, address, plain != NULL ? plain->user : NULL)) {
		go_on(a);
		return;
	}
	struct recipient *r =
	    transaction_add(t, a->opts.max, address, span_str(plain != NULL ? plain->user : NULL),
		detail, span_str(plain != NULL ? plain->store : NULL));
	if (r == NULL)
		left_out(a, "too many recipients");
	else if (e != NULL && plain == NULL)
		expansion_take(e, r);
	go_on(a);
}

static void on_found(void *arg, struct expansion *e)
{
	struct added *a = OBJ(added, arg);
	a->ask = NULL;
	if (e->end == EXPAND_REFUSED && e->code == 451) {
		finish(a, false);
	} else if (e->end == EXPAND_TAKEN) {
		take(a, e);
	} else if (e->end == EXPAND_ELSEWHERE && smtp_path_domain(&a->path).p[0] != '[') {
		take(a, NULL);
	} else {
		left_out(a, e->end == EXPAND_ELSEWHERE ? "mail is not relayed to address literals"
						       : e->text);
		go_on(a);
	}
}

static void on_next(void *arg)
{
	struct added *a = OBJ(added, arg);
	if (a->at == a->opts.n) {
		finish(a, true);
		return;
	}
	struct span address = span_str(a->opts.addresses[a->at]);
	CHECK(smtp_address_parse(address, 0, &a->path, NULL) == ERR_OK);
	a->ask = expand_start(&a->opts.expand, address, on_found, a);
}

struct ticket *added_start(
    const struct added_opts *opts, void (*fn)(void *arg, bool known), void *arg)
{
	struct added *a = MEM_NEW(struct added);
	a->ticket.cancel = cancel;
	a->magic = added_MAGIC;
	a->opts = *opts;
	a->fn = fn;
	a->arg = arg;
	soon_init(&a->next, on_next, a);
	soon_set(opts->expand.loop, &a->next);
	return &a->ticket;
}
