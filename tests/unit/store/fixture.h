/* fixture.h - a partition in a temporary folder with a link to it, both on one loop. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listen.h"
#include "store-backend/operation.h"
#include "store-backend/partition.h"

enum { DEADLINE_MS = 20000, UIDS_MAX = 64, OUTCOMES_MAX = 64 };

struct world {
	char dir[64], path[128], socket[128];
	struct loop *loop;
	int door_fd;
	struct listener *door;
	struct partition *partition;
	struct operation_link *link;
	struct partition_opts opts;
	unsigned ready; /* times the link came up */
	uint64_t epoch;
	const char *failed;
	err_t failed_err;
};

static const char message[] = "Subject: one\r\n\r\nbody\r\n";

/* An answer that outlives its callback. */
struct answer {
	bool here;
	struct operation_answer a;
	struct uid_range uids[UIDS_MAX], targets[UIDS_MAX];
	struct op_outcome outcomes[OUTCOMES_MAX];
	struct ticket *ticket;
};

static inline void world_on_ready(void *arg, uint64_t epoch)
{
	struct world *w = arg;
	w->ready++;
	w->epoch = epoch;
}

static inline void world_on_failed(void *arg, const char *what, err_t err)
{
	struct world *w = arg;
	w->failed = what;
	w->failed_err = err;
}

static inline void world_on_accept(void *arg, const struct accepted *a)
{
	struct world *w = arg;
	if (w->partition != NULL)
		partition_accept(w->partition, a->fd);
	else
		close(a->fd);
}

/* Runs the loop until *done or the deadline; says which. */
static inline bool wait_until(struct world *w, const bool *done)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (!*done && clock_mono_ms() < until)
		loop_step(w->loop, 20);
	return *done;
}

static inline err_t world_open(struct world *w)
{
	const char *what = NULL;
	err_t err;
	w->failed = NULL;
	w->partition = partition_open(w->loop, &w->opts, &err, &what);
	assert_int_equal(err == ERR_OK, w->partition != NULL);
	return err;
}

static inline void world_close(struct world *w)
{
	partition_close(&w->partition);
}

static inline void world_folder(struct world *w)
{
	*w = (struct world){ 0 };
	log_setup("test", LOG_ERROR, false);
	snprintf(w->dir, sizeof w->dir, "/tmp/test_store.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof w->path, "%s/p", w->dir);
	snprintf(w->socket, sizeof w->socket, "%s/s", w->dir);
	w->opts = (struct partition_opts){
		.name = "p",
		.path = w->path,
		.boot = "boot-1",
		.segment_bytes = 1024 * 1024,
		.index_bytes = 1024 * 1024 * 1024,
		.settings = { .snapshot_every_ms = 3600000,
		    .snapshot_ops = 1000000,
		    .reclaim_after_s = 3600,
		    .delivery_ids_for_s = 86400,
		    .delivery_ids_max = 1000000 },
		.on_failed = world_on_failed,
		.arg = w,
	};
	w->door_fd = listen_open_unix(w->socket, 0600);
	assert_true(w->door_fd >= 0);
}

static inline void world_loop(struct world *w)
{
	static const struct listener_opts plain = { 0 };
	w->loop = loop_new();
	w->door = listener_new(w->loop, w->door_fd, &plain, world_on_accept, w);
}

static inline void world_link(struct world *w)
{
	struct operation_link_opts o = {
		.path = w->socket,
		.deadline_ms = DEADLINE_MS,
		.waiting_max = 10000,
		.waiting_bytes_max = 256u * 1024 * 1024,
		.on_ready = world_on_ready,
		.arg = w,
	};
	w->link = operation_link_new(w->loop, &o);
}

static inline void world_make(struct world *w)
{
	world_folder(w);
	world_loop(w);
	assert_int_equal(world_open(w), ERR_OK);
	world_link(w);
}

static inline int world_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static inline void world_end(struct world *w)
{
	operation_link_free(&w->link);
	partition_close(&w->partition);
	if (w->door != NULL)
		listener_free(&w->door);
	close(w->door_fd);
	if (w->loop != NULL)
		loop_free(&w->loop);
	nftw(w->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- asking -------------------------------------------------------------------------------------- */

static inline struct uid_set keep_uids(struct uid_range *to, struct uid_set s)
{
	assert_true(s.n <= UIDS_MAX);
	if (s.n > 0)
		memcpy(to, s.v, s.n * sizeof *to);
	return (struct uid_set){ to, s.n };
}

static inline void on_answer(void *arg, const struct operation_answer *a)
{
	struct answer *r = arg;
	r->ticket = NULL;
	r->here = true;
	r->a = *a;
	r->a.uids = keep_uids(r->uids, a->uids);
	r->a.target_uids = keep_uids(r->targets, a->target_uids);
	assert_true(a->outcome_n <= OUTCOMES_MAX);
	if (a->outcome_n > 0)
		memcpy(r->outcomes, a->outcomes, a->outcome_n * sizeof *a->outcomes);
	r->a.outcomes = r->outcomes;
}

static inline void start(struct world *w, const struct operation *op, struct answer *r)
{
	r->here = false;
	r->ticket = operation_ask(w->link, op, on_answer, r);
}

static inline enum operation_result ask(
    struct world *w, const struct operation *op, struct answer *r)
{
	start(w, op, r);
	assert_true(wait_until(w, &r->here));
	return r->a.result;
}

static inline struct operation op_of(enum operation_kind kind, const char *user)
{
	struct operation op;
	operation_init(&op, kind);
	op.user = span_str(user);
	return op;
}

static inline uint64_t ensure(struct world *w, const char *user)
{
	struct operation op = op_of(OP_ENSURE_USER, user);
	struct answer r;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	return r.a.mailbox;
}

static inline uint64_t create(struct world *w, const char *user, const char *name)
{
	struct operation op = op_of(OP_CREATE, user);
	struct answer r;
	op.name = span_str(name);
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	return r.a.mailbox;
}

static inline enum operation_result append(
    struct world *w, const char *user, uint64_t mailbox, const char *text, struct answer *r)
{
	struct operation op = op_of(OP_APPEND, user);
	op.mailbox = mailbox;
	op.message.bytes = span_str(text);
	return ask(w, &op, r);
}

static inline struct operation deliver_to(const struct op_recipient *to, size_t n, const char *id)
{
	struct operation op = op_of(OP_DELIVER, "");
	op.recipients = to;
	op.recipient_n = n;
	op.delivery_id = span_str(id);
	op.message.bytes = span_str(message);
	return op;
}

#endif
