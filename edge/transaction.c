/* transaction.c - one mail: envelope, content and the fate of each recipient.
 *
 * Made by envelope.c at MAIL and by the queue for each message of the spool. Owns every string in it. */
#include "edge/transaction.h"

#include "base/mem.h"

#include "edge/shape.h"

static char *text_or_null(struct span s)
{
	return s.n == 0 ? NULL : mem_span_str(s);
}

struct transaction *transaction_new(struct ident session)
{
	struct transaction *t = MEM_NEW(struct transaction);
	t->id = ident_new();
	t->session = session;
	return t;
}

static void recipient_end(struct recipient *r)
{
	mem_free(r->address);
	mem_free(r->user);
	mem_free(r->detail);
	mem_free(r->store);
	mem_free(r->orcpt);
	mem_free(r->hold_why);
	mem_free(r->filters);
	mem_free(r->sender);
	mem_free(r->fields);
	shape_unref(&r->shape);
	mem_free(r->via);
	recipients_free(r->members, r->member_count);
}

void recipients_free(struct recipient *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		recipient_end(&r[i]);
	mem_free(r);
}

void transaction_remove_all(struct transaction *t)
{
	for (size_t i = 0; i < t->recipient_count; i++)
		recipient_end(&t->recipients[i]);
	t->recipient_count = 0;
}

void transaction_hold(struct transaction *t, struct span why)
{
	t->hold = true;
	if (t->hold_why == NULL && why.n > 0)
		t->hold_why = mem_span_str(why);
}

void transaction_free(struct transaction **t)
{
	struct transaction *gone = *t;
	if (gone == NULL)
		return;
	recipients_free(gone->recipients, gone->recipient_count);
	mem_free(gone->prefix);
	mem_free(gone->hold_why);
	mem_free(gone->sender);
	mem_free(gone->auth_user);
	mem_free(gone->envid);
	body_free(&gone->body);
	MEM_FREE(t);
}

struct recipient *transaction_add(struct transaction *t, size_t max, struct span address,
    struct span user, struct span detail, struct span store)
{
	size_t n = t->recipient_count;
	if (n >= max || n >= RECIPIENTS_MAX)
		return NULL;
	if ((n & (n - 1)) == 0) /* full at 0, 1, 2, 4, 8 ... */
		t->recipients = mem_grow(t->recipients, n == 0 ? 1 : 2 * n, sizeof *t->recipients);
	struct recipient *r = &t->recipients[t->recipient_count++];
	*r = (struct recipient){
		.address = mem_span_str(address),
		.user = text_or_null(user),
		.detail = text_or_null(detail),
		.store = text_or_null(store),
	};
	return r;
}

const char transaction_untold[] =
    "nothing says that the address is the sender's own: no login, not SPF";

bool recipient_wants(unsigned notify, unsigned ends)
{
	unsigned wish = notify != 0 ? notify : SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY;
	return (wish & ends) != 0;
}

/* Nothing at all would stand for failure and delay. */
unsigned recipient_notify_behind(unsigned notify, enum behind behind)
{
	unsigned left = notify & ~(unsigned)SMTP_NOTIFY_SUCCESS;
	if (behind == BEHIND_ONE || notify == 0)
		return notify;
	return left != 0 ? left : SMTP_NOTIFY_NEVER;
}

bool transaction_tells_success(const struct transaction *t, const struct recipient *r)
{
	return recipient_wants(r->notify, SMTP_NOTIFY_SUCCESS) && (t->trusted || t->aligned) &&
	       t->sender[0] != '\0';
}

static size_t find_recipient(
    const struct transaction *t, struct span address, bool (*same)(struct span a, struct span b))
{
	size_t i = 0;
	while (i < t->recipient_count && !same(span_str(t->recipients[i].address), address))
		i++;
	return i;
}

bool transaction_remove(struct transaction *t, struct span address)
{
	size_t i = find_recipient(t, address, span_eq);
	if (i == t->recipient_count)
		i = find_recipient(t, address, span_ieq);
	if (i == t->recipient_count)
		return false;
	recipient_end(&t->recipients[i]);
	t->recipient_count--;
	memmove(&t->recipients[i], &t->recipients[i + 1],
	    (t->recipient_count - i) * sizeof *t->recipients);
	return true;
}
