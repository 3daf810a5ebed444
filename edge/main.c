/* main.c - postern-edge: takes mail by SMTP, gives it to stores or the spool, and delivers the spool.
 *
 * Tables for lib/daemon. Two roles: one queue process, which alone writes the spool, and the workers,
 * which lean on it; it starts first and stops last. The work begins in accept.c and spool_serve.c. */
#include "base/mem.h"
#include "daemon/daemon.h"

#include "edge/accept.h"
#include "edge/copier.h"
#include "edge/copies.h"
#include "edge/dry.h"
#include "edge/edge_conf.h"
#include "edge/edge_tables.h"
#include "edge/queue.h"
#include "edge/queue_gauge.h"
#include "edge/queue_tables.h"
#include "edge/run_wire.h"
#include "edge/runner.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"
#include "edge/table_query.h"
#include "edge/worker.h"

enum { WHY_MAX = 512 };

static bool is_word(const struct control_ask *ask, size_t at, const char *word)
{
	return at < ask->n && span_eq_str(span_str(ask->words[at]), word);
}

/* ---- role worker ------------------------------------------------------------------------------- */

static void on_listener(void *arg, const struct daemon_listener *at, int fd)
{
	struct edge *e = arg;
	doors_add(e->doors, at->name, fd);
}

static void on_drained(void *arg)
{
	worker_drained(arg);
}

/* worker_data() is the edge, or NULL: edge_conf_check() has tried the same bytes, only memory or a bug is left. */
static void worker_start(struct worker *w)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct edge *e = edge_new(worker_loop(w), worker_conf(w), &why);
	if (e == NULL)
		log_write(&edge_events[EDGE_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_SPAN("detail", buf_span(&why))));
	else
		worker_each_listener(w, on_listener, e);
	worker_set_data(w, e);
	buf_end(&why);
}

static void worker_reload(struct worker *w, const struct conf *fresh)
{
	struct edge *e = worker_data(w);
	if (e == NULL)
		return;
	edge_reload(e, fresh);
	worker_each_listener(w, on_listener, e);
}

static void worker_drain(struct worker *w)
{
	struct edge *e = worker_data(w);
	if (e != NULL)
		edge_drain(e, on_drained, w);
	else
		worker_drained(w);
}

static void worker_retire(struct worker *w)
{
	struct edge *e = worker_data(w);
	if (e != NULL)
		edge_retire(e, on_drained, w);
	else
		worker_drained(w);
}

static bool worker_healthy(struct worker *w)
{
	const struct edge *e = worker_data(w);
	return e == NULL || (directory_healthy(e->directory) && metermaid_healthy(e->meter));
}

static uint32_t begin_later(void *arg)
{
	return worker_answer_later(arg);
}

static void answer_later(void *arg, uint32_t id, struct span json)
{
	worker_answer(arg, id, json);
}

/* One worker is enough: all would say the same. */
static bool dry_run(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct dry_ask question;
	const char *why = dry_parse(ask->words + 1, ask->n - 1, &question);
	struct dry *d = why == NULL ? dry_start(worker_data(w), &question, &why) : NULL;
	if (d != NULL)
		dry_answer_to(d, answer_later, w, worker_answer_later(w));
	else
		buf_printf(out, "[{\"check\":\"dry_run\",\"answer\":\"%s\",\"ms\":0}]", why);
	return true;
}

/* One worker is enough. */
static bool table_query(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	uint32_t id = worker_answer_later(w);
	struct table_query_opts o = { answer_later, w, id };
	if (!table_query_start(worker_data(w), ask->words + 2, ask->n - 2, &o))
		worker_answer(w, id, SPAN("[]"));
	return true;
}

static bool worker_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct edge *e = worker_data(w);
	if (e == NULL)
		return false;
	if (ask->n == 1 && is_word(ask, 0, "who")) {
		edge_who(e, out);
		return true;
	}
	if (ask->n == 2 && is_word(ask, 0, "explain")) {
		edge_explain(e, span_str(ask->words[1]), out);
		return true;
	}
	if (ask->n > 2 && is_word(ask, 0, "explain"))
		return worker_index(w) == 0 && dry_run(w, ask, out);
	if (is_word(ask, 0, "table"))
		return is_word(ask, 1, "query") && worker_index(w) == 0 && table_query(w, ask, out);
	return is_word(ask, 0, "meter") &&
	       metermaid_control(e->meter, ask->words, ask->n,
		   &(struct meter_late){ begin_later, answer_later, w }, out);
}

static void worker_stop(struct worker *w)
{
	struct edge *e = worker_data(w);
	worker_set_data(w, NULL);
	edge_free(&e);
}

/* ---- role queue -------------------------------------------------------------------------------- */

struct queue_post {
	struct dns *dns;
	struct directory *directory;
	struct queue *queue;
	struct spool_serve *serve;
	struct copier *copier; /* may be NULL */
	struct copies *copies; /* may be NULL */
};

static bool queue_healthy(struct worker *w)
{
	const struct queue_post *p = worker_data(w);
	return queue_spool(p->queue) != NULL && queue_has_room(p->queue, 1);
}

static void on_queue_listener(void *arg, const struct daemon_listener *at, int fd)
{
	struct queue_post *p = arg;
	if (span_eq_str(span_str(at->name), "spool"))
		spool_serve_listen(p->serve, fd);
	else if (p->copies != NULL)
		copies_listen(p->copies, fd);
}

/* Of the queue, as the spool has one writer, and of the runner. */
static unsigned one_process(const struct conf *c)
{
	return 1;
}

static void queue_start(struct worker *w)
{
	struct queue_post *p = MEM_NEW(struct queue_post);
	p->dns = daemon_dns(worker_loop(w), worker_conf(w));
	p->directory = directory_new(worker_loop(w), p->dns, worker_conf(w));
	p->queue = queue_new(&(struct queue_opts){ .loop = worker_loop(w),
	    .dns = p->dns,
	    .directory = p->directory,
	    .conf = worker_conf(w) });
	p->serve = spool_serve_new(worker_loop(w), p->queue);
	p->copies = copies_new(worker_loop(w), p->queue, worker_conf(w));
	p->copier = copier_new(worker_loop(w), p->dns, p->queue, p->serve, worker_conf(w));
	worker_set_data(w, p);
	worker_set_healthy(w, queue_healthy(w));
	worker_each_listener(w, on_queue_listener, p);
}

static void queue_process_reload(struct worker *w, const struct conf *fresh)
{
	struct queue_post *p = worker_data(w);
	directory_reload(p->directory, fresh);
	queue_reload(p->queue, fresh);
	copier_reload(p->copier, fresh);
	copies_reload(p->copies, fresh);
}

static void queue_process_drain(struct worker *w)
{
	struct queue_post *p = worker_data(w);
	queue_drain(p->queue, on_drained, w);
}

static bool queue_process_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct queue_post *p = worker_data(w);
	if (ask->n == 2 && is_word(ask, 0, "tlsrpt")) {
		bool send = is_word(ask, 1, "send");
		const char *const words[] = { send ? "tlsrpt-send" : "tlsrpt-show" };
		return (send || is_word(ask, 1, "show")) &&
		       queue_control(p->queue, words, 1, NULL, out);
	}
	if (is_word(ask, 0, "queue") && copies_control(p->copies, ask->words + 1, ask->n - 1, out))
		return true;
	return is_word(ask, 0, "queue") &&
	       queue_control(p->queue, ask->words + 1, ask->n - 1,
		   &(struct queue_late){ begin_later, answer_later, w }, out);
}

static void queue_stop(struct worker *w)
{
	struct queue_post *p = worker_data(w);
	worker_set_data(w, NULL);
	copier_free(&p->copier);
	copies_free(&p->copies);
	spool_serve_free(&p->serve);
	queue_free(&p->queue);
	directory_free(&p->directory);
	dns_free(&p->dns);
	mem_free(p);
}

/* ---- role runner ------------------------------------------------------------------------------- */

static void on_runner_listener(void *arg, const struct daemon_listener *at, int fd)
{
	runner_listen(arg, fd);
}

static void runner_start(struct worker *w)
{
	struct runner *r = runner_new(worker_loop(w), worker_conf(w));
	worker_set_data(w, r);
	worker_each_listener(w, on_runner_listener, r);
}

static void runner_process_reload(struct worker *w, const struct conf *fresh)
{
	struct runner *r = worker_data(w);
	runner_reload(r, fresh);
	worker_each_listener(w, on_runner_listener, r);
}

static void runner_process_drain(struct worker *w)
{
	runner_drain(worker_data(w), on_drained, w);
}

static void runner_stop(struct worker *w)
{
	struct runner *r = worker_data(w);
	worker_set_data(w, NULL);
	runner_free(&r);
}

/* ---- tables ------------------------------------------------------------------------------------ */

static void listeners(const struct conf *c, struct daemon_listeners *out)
{
	static char path[SPOOL_PATH_SIZE]; /* lives as long as out, which is read at once */
	out->v[out->n++] = (struct daemon_listener){
		.role = "queue",
		.name = "spool",
		.unix_path = spool_socket_path(daemon_run_dir(c), path),
		.unix_mode = 0600,
	};
	static char run_path[RUN_PATH_SIZE];
	if (runner_is_needed(c))
		out->v[out->n++] = (struct daemon_listener){
			.role = "runner",
			.name = "run",
			.unix_path = run_socket_path(daemon_run_dir(c), run_path),
			.unix_mode = 0600,
		};
	const struct edge_conf *e = conf_section(c, &edge_block);
	daemon_listeners_add(out, "queue", "copies", &e->copy_listen, 0600);
	accept_listeners(c, out);
}

static void prepare(void)
{
	metric_register(edge_metrics, EDGE_M_COUNT);
	metric_register(queue_metrics, QUEUE_M_COUNT);
	queue_gauge_prepare();
	directory_prepare();
	metermaid_prepare();
}

static const struct conf_block *const sections[] = { &edge_block, &directory_block,
	&metermaid_block, NULL };
static const char *const foreign[] = { "*", NULL };

static const struct conf_schema schema = {
	.sections = sections,
	.foreign = foreign,
	.check = edge_conf_check,
};

static const struct daemon_role roles[] = {
	{
	    .name = "runner",
	    .keeps_rights = true,
	    .count = one_process,
	    .needed = runner_is_needed,
	    .start = runner_start,
	    .reload = runner_process_reload,
	    .drain = runner_process_drain,
	    .stop = runner_stop,
	},
	{
	    .name = "queue",
	    .exclusive = true,
	    .count = one_process,
	    .start = queue_start,
	    .reload = queue_process_reload,
	    .drain = queue_process_drain,
	    .control = queue_process_control,
	    .healthy = queue_healthy,
	    .stop = queue_stop,
	},
	{
	    .name = "worker",
	    .start = worker_start,
	    .reload = worker_reload,
	    .drain = worker_drain,
	    .retire = worker_retire,
	    .control = worker_control,
	    .healthy = worker_healthy,
	    .stop = worker_stop,
	},
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "edge",
		.schema = &schema,
		.roles = roles,
		.role_count = sizeof roles / sizeof roles[0],
		.listeners = listeners,
		.prepare = prepare,
	};
	return daemon_main(&spec, argc, argv);
}
