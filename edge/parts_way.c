/* parts_way.c - the transactions of a mail in parts: one for each way in which it goes to a recipient (beside: parts.c).
 *
 * A transaction borrows the mail's body, or owns one that a group's shape made of it. */
#include "edge/parts_internal.h"

#include "base/mem.h"

#include "edge/edge_conf.h"

enum { GROWTH_MAX = 512 * 1024 /* of a message by a group's texts */ };

void part_free(struct part *p)
{
	ticket_cancel(&p->commit);
	if (p->t->body == p->all->t->body)
		p->t->body = NULL;
	transaction_free(&p->t);
	p->magic = 0;
	mem_free(p);
}

static bool fits_way(const struct part *p, const struct way *w)
{
	bool same_hold = w->hold != NULL
			     ? p->t->hold && span_eq_str(span_str(w->hold), p->t->hold_why)
			     : p->t->hold == p->all->t->hold;
	return p->t->recipient_count < RECIPIENTS_MAX && same_hold && p->shape == w->shape &&
	       strcmp(p->t->sender, w->sender) == 0 &&
	       span_eq(span_str(p->t->prefix), span_str(w->mark));
}

static struct transaction *copy_for(const struct transaction *t, const struct way *w)
{
	struct transaction *p = transaction_new(t->session);
	p->id = t->id;
	p->sender = mem_str(w->sender);
	p->body_8bit = t->body_8bit;
	p->auth_user = mem_str(t->auth_user);
	p->smtputf8 = t->smtputf8;
	p->priority = t->priority;
	p->hold = t->hold;
	p->hold_why = mem_str(t->hold_why);
	if (w->hold != NULL)
		transaction_hold(p, span_str(w->hold));
	p->require_tls = t->require_tls;
	p->tls_optional = t->tls_optional;
	p->trusted = t->trusted || w->own_sender;
	p->aligned = t->aligned && !w->own_sender;
	p->disowned = t->disowned && !w->own_sender;
	p->ret = w->own_sender ? SMTP_RET_NONE : t->ret; /* RFC 3461 section 5.2.7.1 */
	p->envid = w->own_sender ? NULL : mem_str(t->envid);
	p->client = t->client;
	p->arrived_us = t->arrived_us;
	p->body = t->body;
	p->prefix = mem_str(w->mark);
	return p;
}

static struct span read_whole(void *body, uint64_t at, size_t n, err_t *err_out)
{
	return body_read(body, at, n, err_out);
}

/* Without a body of its own nothing is promised. */
static void make_body(struct parts *x, struct part *p, const struct shape *shape)
{
	const struct mail_source from = {
		.read = read_whole, .arg = x->t->body, .size = body_size(x->t->body)
	};
	p->shape = shape;
	if (shape == NULL)
		return;
	p->t->body = shape_body(
	    shape, &from, x->opts.edge->message_size_max + GROWTH_MAX, x->opts.edge->temp_dir);
	x->failed = x->failed || p->t->body == NULL;
}

struct part *part_for(struct parts *x, const struct way *w)
{
	for (size_t i = 0; i < x->part_n; i++)
		if (fits_way(x->parts[i], w))
			return x->parts[i];
	struct part *p = MEM_NEW(struct part);
	p->magic = part_MAGIC;
	p->all = x;
	p->t = copy_for(x->t, w);
	make_body(x, p, w->shape);
	x->parts = mem_grow(x->parts, x->part_n + 1, sizeof(*x->parts));
	x->parts[x->part_n++] = p;
	return p;
}
