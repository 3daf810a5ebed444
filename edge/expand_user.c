/* expand_user.c - users as ends of the way: their mailbox, their forwards, programs and mailboxes of this host (part of
 * step 3, expand.c).
 *
 * mailDeliveryOption native and unix mean the channel with the name "native", program the channels that
 * mailProgramDeliveryInfo names. What this edge does not have is no way of delivery here. Owns nothing. */
#include "edge/channel.h"
#include "edge/expand_internal.h"
#include "edge/outcome.h"

/* ---- channels ---------------------------------------------------------------------------------- */

static const char native[] = "native";

static const struct edge_channel_conf *end_named(const struct expand *x, const char *name)
{
	const struct edge_channel_conf *c = channel_named(x->opts.conf, span_str(name));
	return c != NULL && channel_is_end(c) ? c : NULL;
}

/* Calls fn with each of the user's channels; the number of them. */
static size_t each(const struct expand *x, const struct account *a,
    void (*fn)(void *arg, const struct edge_channel_conf *c), void *arg)
{
	const char *text = a->programs.p;
	bool is_native = (a->delivery & ACCOUNT_TO_NATIVE) != 0,
	     runs = (a->delivery & ACCOUNT_TO_PROGRAM) != 0;
	const struct edge_channel_conf *c = is_native ? end_named(x, native) : NULL;
	size_t n = c != NULL;
	if (c != NULL && fn != NULL)
		fn(arg, c);
	for (size_t i = 0; runs && i < a->programs.n; i++, text = text_list_next(text)) {
		c = end_named(x, text);
		n += c != NULL;
		if (c != NULL && fn != NULL)
			fn(arg, c);
	}
	return n;
}

static bool has_channels(const struct expand *x, const struct account *a)
{
	return each(x, a, NULL, NULL) > 0;
}

struct taking {
	struct expand *x;
	const struct target *t;
};

static void take(void *arg, const struct edge_channel_conf *c)
{
	const struct taking *k = arg;
	char place[CHANNEL_PLACE_SIZE];
	expand_take(k->x, k->t->address, k->t->user, channel_place(c, place));
}

static void take_channels(struct expand *x, const struct target *t)
{
	each(x, t->user, take, &(struct taking){ x, t });
}

static const struct edge_channel_conf *reprocess_of(const struct expand *x)
{
	const struct edge_conf *c = x->opts.conf;
	for (size_t i = 0; i < c->channel_n; i++)
		if (c->channel[i]->type == CHANNEL_REPROCESS)
			return c->channel[i];
	return NULL;
}

bool expand_may_put_off(const struct expand *x)
{
	return !x->asks_has && !x->opts.posted && reprocess_of(x) != NULL;
}

void expand_put_off(struct expand *x, const char *address)
{
	char place[CHANNEL_PLACE_SIZE];
	expand_take(x, address, NULL, channel_place(reprocess_of(x), place));
}

bool expand_by_address(struct expand *x)
{
	const struct edge_channel_conf *c =
	    x->asks_has ? NULL : channel_end_of(x->opts.conf, span_str(x->now->text));
	char place[CHANNEL_PLACE_SIZE];
	if (c != NULL)
		expand_take(x, x->now->text, NULL, channel_place(c, place));
	return c != NULL;
}

/* ---- users ------------------------------------------------------------------------------------ */

static const struct status_answer {
	unsigned code;
	const char *enhanced, *text;
} by_status[] = {
	[ACCOUNT_ACTIVE] = { 0, NULL, NULL },
	[ACCOUNT_INACTIVE] = { 450, "4.2.1", "mailbox takes no mail now" },
	[ACCOUNT_DISABLED] = { 550, "5.2.1", "mailbox is disabled" },
	[ACCOUNT_DELETED] = { 550, "5.1.1", "no such mailbox" },
	[ACCOUNT_HOLD] = { 450, "4.2.1", "mailbox is on hold" },
	[ACCOUNT_OVERQUOTA] = { 452, "4.2.2", "mailbox is full" },
	[ACCOUNT_DEFER] = { 450, "4.2.1", "mailbox takes no mail now" },
};

void expand_refuse_by_status(struct expand *x, enum account_status status)
{
	const struct status_answer *a = &by_status[status];
	expand_refuse(x, a->code, a->enhanced, a->text);
}

/* The queue knows mailboxes, not forwards: only what has a mailbox and nothing else can wait there. A mailbox on
 * hold does so whoever asks; others only as members, so that they do not hold up the rest. */
static bool can_wait(const struct expand *x, const struct account *a, enum account_status status)
{
	unsigned ways = a->delivery & ~(unsigned)ACCOUNT_TO_HOLD;
	bool mailbox_only = ways == ACCOUNT_TO_MAILBOX || a->delivery == ACCOUNT_TO_HOLD;
	return mailbox_only && a->host_count > 0 && by_status[status].code / 100 == 4 &&
	       (status == ACCOUNT_HOLD || x->now->depth > 0);
}

static void wait_in_queue(struct expand *x, const struct target *t, enum account_status status)
{
	struct recipient *r = expand_take(x, t->address, t->user, NULL);
	const struct status_answer *a = &by_status[status];
	if (r != NULL)
		outcome_set(&r->outcome, FATE_LATER, a->code, a->enhanced, span_str(a->text));
	x->held = x->held || status == ACCOUNT_HOLD;
	expand_go_on(x);
}

/* Who comes by way of himself keeps the mail: that ends a loop without losing anything. */
static void deliver_user(struct expand *x, const struct target *t)
{
	const struct account *a = t->user;
	bool again = expand_in_chain(x->now, t->address);
	bool keeps = (again || (a->delivery & ACCOUNT_TO_MAILBOX) != 0) && a->host_count > 0;
	bool forwards = !again && (a->delivery & ACCOUNT_TO_FORWARDS) != 0 && a->forwards.n > 0;
	bool lacks_store = (a->delivery & ACCOUNT_TO_MAILBOX) != 0 && a->host_count == 0;
	bool by_channel = !again && has_channels(x, a);
	if (lacks_store || (!keeps && !forwards && !again && !by_channel)) {
		expand_refuse(x, 451, "4.3.5",
		    lacks_store ? "mailbox has no store" : "the mailbox has no way of delivery");
		return;
	}
	if (keeps)
		expand_take(x, t->address, a, NULL);
	if (forwards)
		expand_push_all(x, a->forwards, t->address);
	if (by_channel)
		take_channels(x, t);
	x->out.plain = x->now->depth == 0 && keeps && !forwards && !by_channel && !t->renamed;
	expand_go_on(x);
}

void expand_user(struct expand *x, const struct target *t)
{
	enum account_status status = account_mail_status(t->user);
	if (status == ACCOUNT_OVERQUOTA && (t->user->delivery & ACCOUNT_TO_MAILBOX) == 0)
		status = ACCOUNT_ACTIVE;
	if (can_wait(x, t->user, status))
		wait_in_queue(x, t, status);
	else if (status != ACCOUNT_ACTIVE)
		expand_refuse_by_status(x, status);
	else
		deliver_user(x, t);
}
