/* group_mail.h - a mail in two parts as a worker asks the queue of queue_bench.h for it: alice and bob, and carol with a field of
 * her own in front. */
#ifndef TESTS_GROUP_MAIL_H
#define TESTS_GROUP_MAIL_H

#include "tests/unit/edge/queue_bench.h"

#include "edge/commit_internal.h"
#include "edge/commit_unit.h"
#include "edge/unit.h"

enum { PARTS = 2 };

struct group_mail {
	struct committer committer;
	struct transaction *mail, *part[PARTS];
	struct commit_unit *unit;
	struct ticket *ask[PARTS];
	size_t open;
	err_t err[PARTS];
};

struct answer {
	struct group_mail *mail;
	size_t at;
};
static struct answer answers[PARTS];

static void on_part(void *arg, err_t err)
{
	struct answer *a = arg;
	a->mail->ask[a->at] = NULL;
	a->mail->err[a->at] = err;
	a->mail->open--;
}

static void add_user(struct spool_message *m, struct spool_recipient *r, const char *address)
{
	m->recipients = r;
	r[m->recipient_count++] = to(address);
}

static void mail_ask(struct group_mail *g, struct bench *b)
{
	static const char *const who[PARTS][2] = { { "alice@x.example", "bob@x.example" },
		{ "carol@x.example", NULL } };
	*g = (struct group_mail){ .committer = {
				      .loop = b->loop, .edge = b->edge, .spool = b->link } };
	g->mail = transaction_new(ident_new());
	g->mail->sender = mem_str("s@far.example");
	g->mail->arrived_us = clock_wall_us();
	g->mail->body = body_new(64 * 1024, 1 << 24, dir);
	assert_int_equal(body_add(g->mail->body, buf_span(&b->body)), ERR_OK);
	g->unit = commit_unit_new(&g->committer, g->mail, PARTS);
	for (size_t i = 0; i < PARTS; i++) {
		struct transaction *t = transaction_new(g->mail->session);
		struct spool_recipient r[2];
		t->id = unit_part_id(g->mail->id, i);
		t->sender = mem_str("s@far.example");
		t->body = g->mail->body;
		t->prefix = i == 1 ? mem_str("X-Group: yes\r\n") : NULL;
		struct spool_message m = commit_envelope(t);
		for (size_t k = 0; k < 2 && who[i][k] != NULL; k++)
			add_user(&m, r, who[i][k]);
		m.body_bytes = span_str(t->prefix).n + body_size(t->body);
		answers[i] = (struct answer){ g, i };
		g->part[i] = t;
		g->open++;
		g->ask[i] = commit_unit_join(g->unit, t, &m, on_part, &answers[i]);
	}
}

static void mail_end(struct group_mail *g)
{
	for (size_t i = 0; i < PARTS; i++) {
		ticket_cancel(&g->ask[i]);
		g->part[i]->body = NULL;
		transaction_free(&g->part[i]);
	}
	commit_unit_free(&g->unit);
	transaction_free(&g->mail);
}

#endif
