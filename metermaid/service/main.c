/* main.c - postern-meter: the limits of MeterMaid for other mail servers.
 *
 * Tables for lib/daemon. Role service answers questions (policy.c); role milter is a process that libmilter's
 * threads share with a loop of its own, and asks the service like a mail server. The service starts first and
 * stops last. */
#include <stdio.h>

#include "base/mem.h"
#include "daemon/daemon.h"
#include "metermaid/rule.h"

#include "metermaid/service/milter.h"
#include "metermaid/service/policy.h"
#include "metermaid/service/service_conf.h"
#include "metermaid/service/service_tables.h"

enum { WHY_MAX = 512, WATCH_MS = 1000, ANSWER_SPARE_MS = 15000 };

static const char role_service[] = "service", role_milter[] = "milter";
static const char milter_socket[] = "milter socket"; /* no title: its name has a space */

/* ---- role service ------------------------------------------------------------------------------ */

struct service {
	struct dns *dns;
	struct metermaid *meter;
	struct policy *policy;
};

static unsigned one_process(const struct conf *c)
{
	return 1; /* questions of hundreds of mail servers are little for one loop */
}

static void on_listener(void *arg, const struct daemon_listener *at, int fd)
{
	const struct service *s = arg;
	policy_listen(
	    s->policy, span_eq_str(span_str(at->name), milter_socket) ? NULL : at->name, fd);
}

static void service_start(struct worker *w)
{
	struct service *s = MEM_NEW(struct service);
	s->dns = daemon_dns(worker_loop(w), worker_conf(w));
	s->meter = metermaid_new(worker_loop(w), s->dns, worker_conf(w));
	s->policy = policy_new(worker_loop(w), s->meter, worker_conf(w));
	worker_set_data(w, s);
	worker_each_listener(w, on_listener, s);
}

static void service_reload(struct worker *w, const struct conf *fresh)
{
	struct service *s = worker_data(w);
	metermaid_reload(s->meter, fresh);
	policy_reload(s->policy, fresh);
	worker_each_listener(w, on_listener, s);
}

static void on_drained(void *arg)
{
	worker_drained(arg);
}

static void service_drain(struct worker *w)
{
	struct service *s = worker_data(w);
	policy_drain(s->policy, on_drained, w);
}

static void service_retire(struct worker *w)
{
	struct service *s = worker_data(w);
	policy_retire(s->policy, on_drained, w);
}

static bool service_healthy(struct worker *w)
{
	const struct service *s = worker_data(w);
	return metermaid_healthy(s->meter);
}

static uint32_t meter_later(void *arg)
{
	return worker_answer_later(arg);
}

static void meter_answer(void *arg, uint32_t id, struct span json)
{
	worker_answer(arg, id, json);
}

static bool service_control(struct worker *w, const struct control_ask *ask, struct buf *out)
{
	struct service *s = worker_data(w);
	return ask->n > 0 && span_eq_str(span_str(ask->words[0]), "meter") &&
	       metermaid_control(s->meter, ask->words, ask->n,
		   &(struct meter_late){ meter_later, meter_answer, w }, out);
}

static void service_stop(struct worker *w)
{
	struct service *s = worker_data(w);
	worker_set_data(w, NULL);
	policy_free(&s->policy);
	metermaid_free(&s->meter);
	dns_free(&s->dns);
	mem_free(s);
}

/* ---- role milter ------------------------------------------------------------------------------- */

/* One for the process, and for its whole life: libmilter's threads may look at it to the last. */
static struct {
	struct milter_shared shared;
	char path[POLICY_PATH_SIZE], address[POLICY_PATH_SIZE];
	struct buf why; /* it could not begin; empty: it has ended */
	struct timer watch;
	struct loop *loop;
	struct worker *worker;
	unsigned long long unasked; /* as last seen */
	bool lost;
} milter;

static unsigned milter_processes(const struct conf *c)
{
	const struct meter_conf *m = conf_section(c, &meter_block);
	return m->milter.n > 0 ? 1 : 0;
}

/* As libmilter spells it. */
static void put_address(const struct conf_address *at, char out[POLICY_PATH_SIZE])
{
	char addr[IP_TEXT_SIZE];
	if (at->unix_path != NULL)
		snprintf(out, POLICY_PATH_SIZE, "unix:%s", at->unix_path);
	else
		snprintf(out, POLICY_PATH_SIZE, "%s:%u@%s",
		    ip_is_v4(at->at.addr) ? "inet" : "inet6", at->at.port,
		    ip_text(at->at.addr, addr));
}

static bool counts_bytes(const struct conf *c)
{
	const struct metermaid_conf *m = conf_section(c, &metermaid_block);
	for (size_t i = 0; i < m->rule_n; i++)
		if (m->rule[i]->on == METER_MESSAGE && m->rule[i]->cost == COST_BYTES)
			return true;
	return false;
}

static void milter_settings(const struct conf *c)
{
	const struct meter_conf *m = conf_section(c, &meter_block);
	struct milter_shared *s = &milter.shared;
	atomic_store(&s->wait_ms, (unsigned)(m->delay_max + ANSWER_SPARE_MS));
	atomic_store(&s->open_on_loss, m->milter_on_loss == MILTER_LOSS_OPEN);
	atomic_store(&s->wants_bytes, counts_bytes(c));
	atomic_store(&s->sessions_max, (unsigned)m->connections_max);
}

static void milter_failed(void)
{
	const char *why = buf_len(&milter.why) > 0 ? buf_cstr(&milter.why) : "libmilter ended";
	log_write(&service_events[SERVICE_EV_MILTER_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("address", milter.address), LOG_STR("why", why)));
	loop_stop(milter.loop); /* the master starts this process again, with a pause */
}

static void tell_losses(unsigned long long unasked, bool losing)
{
	if (unasked > milter.unasked) {
		metric_add(&service_metrics[SERVICE_M_MILTER_UNASKED], unasked - milter.unasked);
		log_write(&service_events[SERVICE_EV_MILTER_LOST], NULL,
		    LOG_FIELDS(LOG_U64("unasked", unasked - milter.unasked)));
		milter.lost = true;
	}
	milter.unasked = unasked;
	if (!milter.lost || losing)
		return;
	log_write(&service_events[SERVICE_EV_MILTER_BACK], NULL, NULL);
	milter.lost = false;
}

/* What libmilter's threads have noted since is logged and counted here. */
static void on_watch(void *arg)
{
	struct milter_shared *s = &milter.shared;
	metric_set(&service_metrics[SERVICE_M_MILTER_SESSIONS], atomic_load(&s->sessions));
	tell_losses(atomic_load(&s->unasked), atomic_load(&s->losing));
	if (worker_draining(milter.worker)) {
		if (atomic_load(&s->sessions) == 0)
			worker_drained(milter.worker);
	} else if (atomic_load(&s->ended)) {
		milter_failed();
		return;
	}
	timer_set(&milter.watch, WATCH_MS);
}

static void milter_start(struct worker *w)
{
	const struct meter_conf *m = conf_section(worker_conf(w), &meter_block);
	milter.why = BUF_INIT(WHY_MAX);
	milter.worker = w;
	milter.loop = worker_loop(w);
	milter.shared.path = policy_milter_path(daemon_run_dir(worker_conf(w)), milter.path);
	timer_init(&milter.watch, milter.loop, on_watch, NULL);
	put_address(&m->milter.v[0], milter.address);
	milter_settings(worker_conf(w));
	bool ok = milter_begin(&milter.shared, milter.address, &milter.why);
	atomic_store(&milter.shared.ended, !ok);
	timer_set(&milter.watch, ok ? WATCH_MS : 0);
}

static void milter_reload(struct worker *w, const struct conf *fresh)
{
	milter_settings(fresh);
}

static void milter_drain(struct worker *w)
{
	milter_stop();
	timer_set(&milter.watch, 0);
}

static bool milter_healthy(struct worker *w)
{
	return !milter.lost && !atomic_load(&milter.shared.ended);
}

static void milter_end(struct worker *w)
{
	timer_clear(&milter.watch);
	buf_end(&milter.why);
}

/* ---- tables ------------------------------------------------------------------------------------ */

static void listeners(const struct conf *c, struct daemon_listeners *out)
{
	static char path[POLICY_PATH_SIZE]; /* lives as long as out, which is read at once */
	const struct meter_conf *m = conf_section(c, &meter_block);
	if (m->milter.n > 0)
		out->v[out->n++] = (struct daemon_listener){
			.role = role_service,
			.name = milter_socket,
			.unix_path = policy_milter_path(daemon_run_dir(c), path),
			.unix_mode = 0600,
		};
	for (size_t i = 0; i < m->listener_n; i++)
		daemon_listeners_add(
		    out, role_service, m->listener[i]->head.title, &m->listener[i]->address, 0666);
}

static void prepare(void)
{
	metric_register(service_metrics, SERVICE_M_COUNT);
	metermaid_prepare();
}

static const struct conf_block *const sections[] = { &meter_block, &metermaid_block, NULL };
static const char *const foreign[] = { "*", NULL };

static const struct conf_schema schema = {
	.sections = sections,
	.foreign = foreign,
	.check = service_conf_check,
};

static const struct daemon_role roles[] = {
	{
	    .name = role_service,
	    .count = one_process,
	    .start = service_start,
	    .reload = service_reload,
	    .drain = service_drain,
	    .retire = service_retire,
	    .control = service_control,
	    .healthy = service_healthy,
	    .stop = service_stop,
	},
	{
	    .name = role_milter,
	    .count = milter_processes,
	    .start = milter_start,
	    .reload = milter_reload,
	    .drain = milter_drain,
	    .healthy = milter_healthy,
	    .stop = milter_end,
	},
};

int main(int argc, char **argv)
{
	static const struct daemon_spec spec = {
		.name = "meter",
		.schema = &schema,
		.roles = roles,
		.role_count = sizeof roles / sizeof roles[0],
		.listeners = listeners,
		.prepare = prepare,
	};
	return daemon_main(&spec, argc, argv);
}
