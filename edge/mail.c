/* mail.c - reception's view of a transaction: made at MAIL, gone with its answer.
 *
 * Owns: struct mail, and the account of how much memory the bodies of a worker were promised. */
#include "edge/mail.h"

#include "base/clock.h"
#include "base/mem.h"
#include "proto/mime_binary.h"

#include "edge/dry.h"
#include "edge/filter.h"
#include "edge/memory.h"
#include "edge/ruling.h"
#include "edge/sender.h"

/* Past body_memory_all, and when the worker's memory runs short, a message gets so much memory, and its file sooner. */
enum { MEMORY_MIN = 16 * 1024 };

struct mail *mail_new(const struct session *s, const struct smtp_path *sender, bool body_8bit)
{
	struct mail *m = MEM_NEW(struct mail);
	m->t = transaction_new(s->id);
	m->t->sender = mem_span_str(smtp_path_text(sender));
	m->t->body_8bit = body_8bit;
	m->t->auth_user = mem_str(s->user);
	m->t->client = s->from.addr;
	m->t->arrived_us = clock_wall_us();
	m->prepend = BUF_INIT(MAIL_PREPEND_MAX);
	return m;
}

void mail_open_body(struct session *s)
{
	const struct edge_conf *c = s->setup->edge;
	uint64_t memory = c->body_memory;
	if (s->edge->body_memory + memory > c->body_memory_all || memory_is_pressed(s->edge))
		memory = MEMORY_MIN;
	s->edge->body_memory += memory;
	s->mail->memory = memory;
	s->mail->t->body = body_new((size_t)memory, c->message_size_max, c->temp_dir);
}

void mail_end(struct session *s)
{
	if (s->mail == NULL)
		return;
	struct mail *m = s->mail;
	filters_done(s->filters);
	s->edge->body_memory -= m->memory;
	sender_free(&m->sender);
	if (s->dry != NULL)
		dry_keep_mail(s->dry, &m->record);
	else
		record_keep(s->edge->records, m->t->id, &m->record);
	record_end(&m->record);
	mime_binary_free(&m->binary);
	buf_end(&m->tags);
	buf_end(&m->prepend);
	mem_free(m->redirect);
	mem_free(m->hold_why);
	mem_free(m->filters);
	ruling_free(&m->ruling);
	for (size_t i = 0; i < m->bcc.n; i++)
		mem_free(m->bcc.v[i]);
	mem_free(m->params);
	mem_free(m->origin);
	transaction_free(&m->t);
	MEM_FREE(&s->mail);
}

const char *mail_id(const struct mail *m)
{
	return m->t->id.s;
}
