/* main.c - postern-edge: takes mail by SMTP, gives it to stores or the spool, and delivers the spool.
 *
 * Tables for lib/daemon. Two roles: one queue process, which alone writes the spool, and the workers,
 * which lean on it; it starts first and stops last. The work begins in accept.c and spool_serve.c. */
#include "base/mem.h"
#include "daemon/daemon.h"

#include "edge/accept.h"
#include "edge/edge_tables.h"
#include "edge/queue.h"
#include "edge/queue_tables.h"
#include "edge/spool_serve.h"
#include "edge/spool_wire.h"
#include "edge/worker.h"

enum { WHY_MAX = 512, HEALTH_MS = 2000 };

static bool is_word(const struct control_ask *ask, size_t at, const char *word)
{
	return at < ask->n && span_eq_str(span_str(ask->words[at]), word);
}

/* ---- role worker ------------------------------------------------------------------------------- */

struct worker_post {
	struct worker *worker;
	struct edge *edge;
	struct timer health;
};

static void on_worker_health(void *arg)
{
	struct worker_post *p = arg;
	worker_set_healthy(
	    p->worker, directory_healthy(p->edge->directory) && metermaid_healthy(p->edge->meter));
	timer_set(&p->health, HEALTH_MS);
}

static void on_worker_listener(void *arg, const struct daemon_listener *at, int fd)
{
	struct worker_post *p = arg;
	doors_add(p->edge->doors, at->name, fd);
}

static void on_worker_drained(void *arg)
{
	struct worker_post *p = arg;
	worker_drained(p->worker);
}

static void worker_start(struct worker *w)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct edge *e = edge_new(worker_loop(w), worker_conf(w), &why);
	if (e ==
	    NULL) /* edge_conf_check() has tried the same bytes: only memory or a bug is left */
		log_write(&edge_events[EDGE_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_SPAN("detail", buf_span(&why))));
	buf_end(&why);
	if (e == NULL)
		return;
	struct worker_post *p = MEM_NEW(struct worker_post);
	p->worker = w;
	p->edge = e;
	worker_set_data(w, p);
	timer_init(&p->health, worker_loop(w), on_worker_health, p);
	timer_set(&p->health, HEALTH_MS);
	worker_each_listener(w, on_worker_listener, p);
}

static void worker_reload(struct worker *w, const struct conf *fresh)
{
	struct worker_post *p = worker_data(w);
	if (p == NULL)
		return;
	edge_reload(p->edge, fresh);
	worker_each_listener(w, on_worker_listener, p);
}

static void worker_drain(struct worker *w)
{
	struct worker_post *p = worker_data(w);
	if (p != NULL)
		edge_drain(p->edge, on_worker_drained, p);
	else
		worker_drained(w);
}

static uint32_t meter_later(void *arg)
{
	return worker_answer_later(arg);
}

static void meter_answer(void *arg, uint32_t id, struct span json)
{
	worker_answer(arg, id, json);
}

static bool worker_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct worker_post *p = worker_data(w);
	if (p == NULL)
		return false;
	if (ask->n == 1 && is_word(ask, 0, "who")) {
		edge_who(p->edge, out);
		return true;
	}
	if (ask->n == 2 && is_word(ask, 0, "explain")) {
		edge_explain(p->edge, span_str(ask->words[1]), out);
		return true;
	}
	return is_word(ask, 0, "meter") &&
	       metermaid_control(p->edge->meter, ask->words, ask->n,
		   &(struct meter_late){ meter_later, meter_answer, w }, out);
}

static void worker_stop(struct worker *w)
{
	struct worker_post *p = worker_data(w);
	if (p == NULL)
		return;
	worker_set_data(w, NULL);
	timer_clear(&p->health);
	edge_free(&p->edge);
	mem_free(p);
}

/* ---- role queue -------------------------------------------------------------------------------- */

struct queue_post {
	struct worker *worker;
	struct dns *dns;
	struct directory *directory;
	struct queue *queue;
	struct spool_serve *serve;
	struct timer health;
};

static void on_queue_health(void *arg)
{
	struct queue_post *p = arg;
	worker_set_healthy(p->worker, queue_spool(p->queue) != NULL && queue_has_room(p->queue, 1));
	timer_set(&p->health, HEALTH_MS);
}

static void on_queue_listener(void *arg, const struct daemon_listener *at, int fd)
{
	struct queue_post *p = arg;
	spool_serve_listen(p->serve, fd);
}

static void on_queue_drained(void *arg)
{
	struct queue_post *p = arg;
	worker_drained(p->worker);
}

static unsigned queue_processes(const struct conf *c)
{
	return 1; /* the spool has one writer */
}

static void queue_start(struct worker *w)
{
	struct queue_post *p = MEM_NEW(struct queue_post);
	p->worker = w;
	p->dns = daemon_dns(worker_loop(w), worker_conf(w));
	p->directory = directory_new(worker_loop(w), p->dns, worker_conf(w));
	p->queue = queue_new(&(struct queue_opts){ .loop = worker_loop(w),
	    .dns = p->dns,
	    .directory = p->directory,
	    .conf = worker_conf(w) });
	p->serve = spool_serve_new(worker_loop(w), p->queue);
	worker_set_data(w, p);
	timer_init(&p->health, worker_loop(w), on_queue_health, p);
	on_queue_health(p);
	worker_each_listener(w, on_queue_listener, p);
}

static void queue_process_reload(struct worker *w, const struct conf *fresh)
{
	struct queue_post *p = worker_data(w);
	directory_reload(p->directory, fresh);
	queue_reload(p->queue, fresh);
}

static void queue_process_drain(struct worker *w)
{
	struct queue_post *p = worker_data(w);
	queue_drain(p->queue, on_queue_drained, p);
}

static bool queue_process_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct queue_post *p = worker_data(w);
	return is_word(ask, 0, "queue") && queue_control(p->queue, ask->words + 1, ask->n - 1, out);
}

static void queue_stop(struct worker *w)
{
	struct queue_post *p = worker_data(w);
	worker_set_data(w, NULL);
	timer_clear(&p->health);
	spool_serve_free(&p->serve);
	queue_free(&p->queue);
	directory_free(&p->directory);
	dns_free(&p->dns);
	mem_free(p);
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
	accept_listeners(c, out);
}

static void prepare(void)
{
	metric_register(edge_metrics, EDGE_M_COUNT);
	metric_register(queue_metrics, QUEUE_M_COUNT);
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
	    .name = "queue",
	    .count = queue_processes,
	    .start = queue_start,
	    .reload = queue_process_reload,
	    .drain = queue_process_drain,
	    .control = queue_process_control,
	    .stop = queue_stop,
	},
	{
	    .name = "worker",
	    .start = worker_start,
	    .reload = worker_reload,
	    .drain = worker_drain,
	    .control = worker_control,
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
