/* transaction.c - one mail: envelope, content and the fate of each recipient.
 *
 * Made by envelope.c at MAIL and by the queue for each message of the spool. Owns every string in it. */
#include "edge/transaction.h"

#include "base/mem.h"

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

void transaction_free(struct transaction **t)
{
	struct transaction *gone = *t;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < gone->recipient_count; i++) {
		mem_free(gone->recipients[i].address);
		mem_free(gone->recipients[i].user);
		mem_free(gone->recipients[i].detail);
		mem_free(gone->recipients[i].store);
		mem_free(gone->recipients[i].orcpt);
	}
	mem_free(gone->recipients);
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
