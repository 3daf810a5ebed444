/* tls_mail.c - before: tlsrpt.c; beside: bounce.c, which does the same with other reports; after: queue_move.c. Owns the one
 * that is under way. */
#include "edge/tls_mail.h"

#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"

#define tls_mail_MAGIC 0x90e0e016u

struct tls_mail {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	char *to, *user;     /* owned; user NULL: somewhere else */
	struct ticket *move; /* owned; NULL: it is over */
	struct soon refuse;
	tlsrpt_mailed_fn *fn;
	void *arg;
};

static void mail_free(struct tls_mail *m)
{
	m->queue->tls_mail = NULL;
	ticket_cancel(&m->move);
	soon_clear(&m->refuse);
	mem_free(m->to);
	mem_free(m->user);
	m->magic = 0;
	mem_free(m);
}

static void cancel(struct ticket *t)
{
	mail_free(OBJ(tls_mail, t));
}

/* Last statement of whoever calls it. */
static void answer(struct tls_mail *m, const char *why)
{
	tlsrpt_mailed_fn *fn = m->fn;
	void *arg = m->arg;
	mail_free(m);
	fn(arg, why);
}

static void on_moved(void *arg, err_t err)
{
	struct tls_mail *m = OBJ(tls_mail, arg);
	m->move = NULL;
	answer(m, err ? move_why(err) : NULL);
}

static void on_refuse(void *arg)
{
	answer(OBJ(tls_mail, arg), move_why(ERR_BUSY));
}

struct ticket *tls_mail_start(
    void *queue, const struct tlsrpt_mail *what, tlsrpt_mailed_fn *fn, void *arg)
{
	struct queue *q = OBJ(queue, queue);
	CHECK(q->tls_mail == NULL);
	struct tls_mail *t = MEM_NEW(struct tls_mail);
	t->ticket.cancel = cancel;
	t->magic = tls_mail_MAGIC;
	t->queue = q;
	t->to = mem_str(what->to);
	t->user = what->user != NULL ? mem_str(what->user) : NULL;
	t->fn = fn;
	t->arg = arg;
	soon_init(&t->refuse, on_refuse, t);
	struct spool_recipient to = { .address = span_str(t->to), .user = span_str(t->user) };
	struct spool_message m = { .id = ident_new(),
		.session = ident_new(),
		.report = REPORT_TLS,
		.arrived_us = queue_now_us(q),
		.recipients = &to,
		.recipient_count = 1 };
	struct move_report r = { .m = &m, .text = what->text };
	q->tls_mail = t;
	t->move = move_report(q, &r, on_moved, t);
	return &t->ticket;
}

void tls_mail_stop(struct queue *q)
{
	struct tls_mail *t = q->tls_mail;
	if (t == NULL || t->move == NULL)
		return;
	ticket_cancel(&t->move);
	soon_set(q->loop, &t->refuse);
}
