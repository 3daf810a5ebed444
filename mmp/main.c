/* main.c - postern-mmp: clients of IMAP, POP3, ManageSieve and submission in front, message stores and relays behind.
 *
 * Tables for lib/daemon; the work begins in accept.c. */
#include <unistd.h>

#include "base/mem.h"
#include "daemon/daemon.h"

#include "mmp/accept.h"
#include "mmp/dry.h"
#include "mmp/handover.h"
#include "mmp/mmp_tables.h"
#include "mmp/orders.h"
#include "mmp/store_watch.h"
#include "mmp/worker.h"

enum { WHY_MAX = 512 };

static void on_listener(void *arg, const struct daemon_listener *at, int fd)
{
	struct mmp *m = arg;
	doors_add(m->doors, at->name, fd);
}

static void on_drained(void *arg)
{
	worker_drained(arg);
}

/* worker_data() is the mmp, or NULL: mmp_conf_check() has tried the same bytes, only memory or a bug is left. */
static void worker_start(struct worker *w)
{
	struct buf why = BUF_INIT(WHY_MAX);
	/* A login is two lines: a system call for each is a tenth of its own cost. */
	log_gather(true);
	struct mmp *m = mmp_new(worker_loop(w), worker_conf(w), &why);
	if (m == NULL) {
		log_write(&mmp_events[MMP_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_SPAN("detail", buf_span(&why))));
	} else {
		store_watch_configured(m->watch);
		worker_each_listener(w, on_listener, m);
	}
	worker_set_data(w, m);
	buf_end(&why);
}

static void worker_reload(struct worker *w, const struct conf *fresh)
{
	struct mmp *m = worker_data(w);
	if (m == NULL)
		return;
	mmp_reload(m, fresh);
	worker_each_listener(w, on_listener, m);
}

static void worker_drain(struct worker *w)
{
	struct mmp *m = worker_data(w);
	if (m != NULL)
		mmp_drain(m, on_drained, w);
	else
		worker_drained(w);
}

static void worker_stopping(struct worker *w, uint64_t ms)
{
	struct mmp *m = worker_data(w);
	if (m != NULL)
		mmp_stopping(m, ms);
}

static void worker_retire(struct worker *w)
{
	struct mmp *m = worker_data(w);
	if (m != NULL)
		mmp_retire(m, on_drained, w);
	else
		worker_drained(w);
}

/* A worker whose setup has failed closes it: the sessions stay where they are. */
static void worker_give(struct worker *w, int take_fd)
{
	struct mmp *m = worker_data(w);
	if (m != NULL)
		give_begin(m, take_fd);
	else
		close(take_fd);
}

static void worker_take(struct worker *w, int take_fd)
{
	struct mmp *m = worker_data(w);
	if (m != NULL)
		take_begin(m, take_fd);
	else
		close(take_fd);
}

static bool worker_healthy(struct worker *w)
{
	const struct mmp *m = worker_data(w);
	return m == NULL || (directory_healthy(m->directory) && metermaid_healthy(m->meter) &&
				store_watch_ready(m));
}

static uint32_t meter_later(void *arg)
{
	return worker_answer_later(arg);
}

static void meter_answer(void *arg, uint32_t id, struct span json)
{
	worker_answer(arg, id, json);
}

static void dry_told(void *arg, uint32_t id, struct span json)
{
	worker_answer(arg, id, json);
}

/* What cannot be asked is told once. */
static void explain(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct dry_ask question;
	const char *why = dry_parse(ask->words + 1, ask->n - 1, &question);
	question.worker = worker_index(w);
	const struct dry_owner owner = { dry_told, w, worker_answer_later(w) };
	if (why == NULL && dry_start(worker_data(w), &question, &owner, &why))
		return;
	if (question.worker == 0)
		buf_printf(out, "[{\"check\":\"dry_run\",\"answer\":\"%s\",\"ms\":0}]", why);
	worker_answer(w, owner.id, question.worker == 0 ? buf_span(out) : SPAN("[]"));
}

static bool worker_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct mmp *m = worker_data(w);
	if (m == NULL || ask->n == 0)
		return false;
	if (ask->n == 1 && span_eq_str(span_str(ask->words[0]), "who")) {
		mmp_who(m, out);
		return true;
	}
	if (span_eq_str(span_str(ask->words[0]), "explain")) {
		explain(w, ask, out);
		return true;
	}
	if (orders_control(m->orders, ask, out))
		return true;
	if (span_eq_str(span_str(ask->words[0]), "meter"))
		return metermaid_control(m->meter, ask->words, ask->n,
		    &(struct meter_late){ meter_later, meter_answer, w }, out);
	return false;
}

static void worker_stop(struct worker *w)
{
	struct mmp *m = worker_data(w);
	worker_set_data(w, NULL);
	mmp_free(&m);
}

static void prepare(void)
{
	metric_register(mmp_metrics, MMP_M_COUNT);
	directory_prepare();
	metermaid_prepare();
}

static const struct conf_block *const sections[] = { &mmp_block, &directory_block, &metermaid_block,
	NULL };
static const char *const foreign[] = { "*", NULL };

static const struct conf_schema schema = {
	.sections = sections,
	.foreign = foreign,
	.check = mmp_conf_check,
};

static const struct daemon_role roles[] = {
	{
	    .name = "worker",
	    .start = worker_start,
	    .reload = worker_reload,
	    .drain = worker_drain,
	    .refuses_drained = true,
	    .stopping = worker_stopping,
	    .retire = worker_retire,
	    .give = worker_give,
	    .take = worker_take,
	    .control = worker_control,
	    .stands = orders_stands,
	    .healthy = worker_healthy,
	    .stop = worker_stop,
	},
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "mmp",
		.schema = &schema,
		.roles = roles,
		.role_count = sizeof roles / sizeof roles[0],
		.listeners = accept_listeners,
		.prepare = prepare,
	};
	return daemon_main(&spec, argc, argv);
}
