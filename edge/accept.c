/* accept.c - connections come in (step 1 of 6; after: admit.c).
 *
 * The limits of the worker on connections are kept here, before a session costs anything: who is over
 * them gets one line, or waits for a worker with room. Owns the doors' pause: the doors are the worker's. */
#include "edge/accept.h"

#include <sys/socket.h>
#include <unistd.h>

#include "daemon/slots.h"
#include "proto/smtp_reply.h"

#include "edge/edge_tables.h"
#include "edge/memory.h"
#include "edge/session.h"

enum {
	SHED_LINE_MAX = 512,
	TOLD_EVERY_MS = 60000,
	LOOK_MS = 500 /* full: are the others, too? Also when one of them has died */
};

/* ---- room ------------------------------------------------------------------------------------- */

static void tell(struct edge *e)
{
	uint64_t now = loop_now_ms(e->loop);
	if (e->full_told_ms != 0 && now - e->full_told_ms < TOLD_EVERY_MS)
		return;
	e->full_told_ms = now;
	log_write(
	    &edge_events[EDGE_EV_WORKER_FULL], NULL, LOG_FIELDS(LOG_U64("sessions", e->session_n)));
}

static bool has_all_sessions(const struct edge *e)
{
	return e->session_n >= (size_t)e->setup->edge->connections_max;
}

void accept_settle(struct edge *e)
{
	bool crowded = has_all_sessions(e), full = memory_is_pressed(e) || crowded;
	if (e->leaves || (!full && !e->full))
		return;
	e->full = full;
	metric_set(&edge_metrics[EDGE_M_ACCEPTING], !full);
	doors_pause(e->doors, full && slots_sum(&edge_metrics[EDGE_M_ACCEPTING]) > 0);
	if (full) {
		if (crowded)
			tell(e);
		timer_set(&e->look, LOOK_MS);
	} else {
		timer_clear(&e->look);
	}
}

/* A look now and then, and before each connection that would be refused. */
static void on_look(void *arg)
{
	accept_settle(arg);
}

void accept_stop(struct edge *e)
{
	e->leaves = true;
	metric_set(&edge_metrics[EDGE_M_ACCEPTING], 0);
	timer_clear(&e->look);
}

/* ---- connections ------------------------------------------------------------------------------ */

/* The line leaves if the socket's empty buffer takes it, and it does. */
static void send_reason(int fd, enum reason why, struct ident id)
{
	struct buf line = BUF_INIT(SHED_LINE_MAX), text = BUF_INIT(SHED_LINE_MAX);
	buf_printf(&text, "%s [%s]", reasons[why].text, id.s);
	smtp_reply_put(&line, reasons[why].code, reasons[why].enhanced, buf_span(&text));
	struct span out = buf_span(&line);
	ssize_t sent = send(fd, out.p, out.n, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
	buf_end(&line);
	buf_end(&text);
}

static void shed(
    const char *name, const struct edge_listener_conf *c, const struct accepted *a, enum reason why)
{
	struct ident id = ident_new();
	metric_add(&edge_metrics[EDGE_M_SHED], 1);
	if (!a->probe)
		log_write(&edge_events[EDGE_EV_SESSION_SHED], id.s,
		    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", name),
			LOG_STR("why", reasons[why].word)));
	if (c != NULL && c->tls != EDGE_TLS_IMPLICIT)
		send_reason(a->fd, why, id);
	accepted_close(a);
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	struct edge *e = arg;
	const struct edge_listener_conf *c = edge_setup_listener(e->setup, name);
	metric_add(&edge_metrics[EDGE_M_CONNECTIONS], 1);
	if (e->draining)
		shed(name, c, a, WHY_DRAINED);
	else if (c == NULL || has_all_sessions(e))
		shed(name, c, a, WHY_TOO_BUSY);
	else if (memory_is_pressed(e))
		shed(name, c, a, WHY_NO_MEMORY);
	else if (!edge_client_enter(e, a->client.addr))
		shed(name, c, a, WHY_CLIENT_BUSY);
	else
		session_start(e, c, a);
	accept_settle(e);
}

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct edge *e = arg;
	const struct edge_listener_conf *c = edge_setup_listener(e->setup, name);
	if (c != NULL)
		*out = (struct door_settings){ .proxy_from = c->proxy_from,
			.proxy_ms = c->proxy_timeout };
	return c != NULL;
}

struct doors *accept_doors_new(struct edge *e)
{
	timer_init(&e->look, e->loop, on_look, e);
	metric_set(&edge_metrics[EDGE_M_ACCEPTING], 1);
	return doors_new(&(struct doors_opts){ .loop = e->loop,
	    .settings = settings_of,
	    .accepted = on_accepted,
	    .before = on_look,
	    .arg = e });
}

void accept_listeners(const struct conf *c, struct daemon_listeners *out)
{
	const struct edge_conf *e = conf_section(c, &edge_block);
	for (size_t i = 0; i < e->listener_n; i++)
		daemon_listeners_add(
		    out, "worker", e->listener[i]->head.title, &e->listener[i]->address, 0666);
}
