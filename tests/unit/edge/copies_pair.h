/* copies_pair.h - two queue processes in one loop: the owner's (queue_bench.h) and the one that keeps its copies. */
#ifndef TESTS_COPIES_PAIR_H
#define TESTS_COPIES_PAIR_H

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/edge/queue_bench.h"

#include "edge/copier.h"
#include "edge/copies.h"
#include "edge/queue_tables.h"

#define SECRET "both know it"

/* The other host; its clients are owners and strangers. */
struct peer {
	struct loop *loop;
	struct conf *conf;
	struct edge_conf *edge;
	struct queue *queue;
	struct copies *copies;
	char spool[100], path[100];
	struct conf_address listens;
	int fd;
	struct copier *copier; /* of the owner */
};

static void peer_up(struct bench *b, struct peer *p)
{
	p->queue = queue_new(&(struct queue_opts){ .loop = b->loop,
	    .dns = b->dns,
	    .directory = b->directory,
	    .conf = p->conf,
	    .unsafe_no_sync = true });
	p->copies = copies_new(b->loop, p->queue, p->conf);
	assert_non_null(p->copies);
	copies_listen(p->copies, p->fd);
}

static void peer_down(struct peer *p)
{
	copies_free(&p->copies);
	queue_free(&p->queue);
}

static void owner_up(struct bench *b, struct peer *p)
{
	b->edge->copy_to = (struct conf_hostport){ p->path, 1 };
	b->edge->copy_secret.bytes = SPAN(SECRET);
	p->copier = copier_new(b->loop, b->dns, b->queue, b->serve, b->conf);
	assert_non_null(p->copier);
}

__attribute__((unused)) static void owner_gone(struct bench *b, struct peer *p)
{
	copier_free(&p->copier);
	queue_gone(b);
}

static void pair_open(struct bench *b, struct peer *p)
{
	static const char *const script[] = { "S 421 no", "X", "S 421 no", "X", "S 421 no", "X",
		"S 421 no", "X", NULL }; /* read after the return */
	static unsigned serial;
	open_late(b, script);
	*p = (struct peer){ .loop = b->loop, .conf = load() };
	p->edge = (struct edge_conf *)(uintptr_t)conf_section(p->conf, &edge_block);
	snprintf(p->spool, sizeof p->spool, "%s/peer%u", dir, serial);
	snprintf(p->path, sizeof p->path, "%s/copies%u.sock", dir, serial++);
	p->edge->spool = p->spool;
	p->edge->queue_retry_first = p->edge->queue_retry_max = LATE_MS;
	p->listens = (struct conf_address){ .unix_path = p->path };
	p->edge->copy_listen = (struct conf_addresses){ &p->listens, 1 }; /* we open it */
	p->edge->copy_secret.bytes = SPAN(SECRET);
	p->fd = listen_open_unix(p->path, 0600);
	peer_up(b, p);
	owner_up(b, p);
}

static void pair_close(struct bench *b, struct peer *p)
{
	copier_free(&p->copier);
	peer_down(p);
	p->edge->copy_listen = (struct conf_addresses){ 0 };
	p->edge->copy_secret.bytes = b->edge->copy_secret.bytes = SPAN_NONE;
	b->edge->copy_to.host = NULL;
	conf_unref(&p->conf);
	close(p->fd);
	bench_close(b);
}

__attribute__((unused)) static bool says(struct peer *p, const char *text)
{
	static const char *const words[] = { "copies" };
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(p->copies, words, 1, &out));
	bool found = strstr(buf_cstr(&out), text) != NULL;
	buf_end(&out);
	return found;
}

__attribute__((unused)) static bool adopt(struct peer *p)
{
	static const char *const words[] = { "adopt", "edge.example" };
	struct buf out = BUF_INIT(10000);
	assert_true(copies_control(p->copies, words, 2, &out));
	bool ok = strstr(buf_cstr(&out), "error") == NULL;
	buf_end(&out);
	return ok;
}

#define HOLDS(held, adopted) "\"copies\":" #held ",\"adopted\":" #adopted

/* False: it meets nobody, perhaps because a delivery is under way. */
__attribute__((unused)) static bool order(struct queue *q, const char *what, const char *whose)
{
	const char *const words[] = { what, whose };
	struct buf out = BUF_INIT(1000);
	assert_true(queue_control(q, words, 2, NULL, &out));
	bool met = strstr(buf_cstr(&out), "\"recipients\":0") == NULL;
	buf_end(&out);
	return met;
}

__attribute__((unused)) static bool delete_all(struct bench *b)
{
	(void)order(b->queue, "delete", "all");
	return EMPTY(b);
}

/* For reports, which the queue writes itself: nobody is at the next hop. */
#define BAD "bad@[127.0.0.1]"
#define LATE "late@[127.0.0.1]"

__attribute__((unused)) static void reports_open(struct bench *b, struct peer *p, int *nobody)
{
	pair_open(b, p);
	b->edge->relay_port = p->edge->relay_port = dead_port(nobody);
	b->edge->copy_timeout = 300;
	b->trusted = true;
	WAIT_FOR(b, says(p, "\"here\""));
}

#endif
