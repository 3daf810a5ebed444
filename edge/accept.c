/* accept.c - connections come in (step 1 of 6; after: admit.c).
 *
 * The limits of the worker on connections are kept here, before a session costs anything: who is over
 * them gets one line. Owns nothing: the doors are the worker's. */
#include "edge/accept.h"

#include <sys/socket.h>
#include <unistd.h>

#include "proto/smtp_reply.h"

#include "edge/edge_tables.h"
#include "edge/session.h"

enum { SHED_LINE_MAX = 512 };

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
	log_write(&edge_events[EDGE_EV_SESSION_SHED], id.s,
	    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", name),
		LOG_STR("why", reasons[why].word)));
	if (c != NULL && c->tls != EDGE_TLS_IMPLICIT)
		send_reason(a->fd, why, id);
	close(a->fd);
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	struct edge *e = arg;
	const struct edge_listener_conf *c = edge_setup_listener(e->setup, name);
	metric_add(&edge_metrics[EDGE_M_CONNECTIONS], 1);
	if (c == NULL || e->session_n >= (size_t)e->setup->edge->connections_max)
		shed(name, c, a, WHY_TOO_BUSY);
	else if (!edge_client_enter(e, a->client.addr))
		shed(name, c, a, WHY_CLIENT_BUSY);
	else
		session_start(e, c, a);
}

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct edge *e = arg;
	const struct edge_listener_conf *c = edge_setup_listener(e->setup, name);
	if (c != NULL)
		*out = (struct door_settings){ c->proxy_from, c->proxy_timeout };
	return c != NULL;
}

struct doors *accept_doors_new(struct edge *e)
{
	return doors_new(&(struct doors_opts){
	    .loop = e->loop, .settings = settings_of, .accepted = on_accepted, .arg = e });
}

void accept_listeners(const struct conf *c, struct daemon_listeners *out)
{
	const struct edge_conf *e = conf_section(c, &edge_block);
	for (size_t i = 0; i < e->listener_n; i++)
		daemon_listeners_add(
		    out, "worker", e->listener[i]->head.title, &e->listener[i]->address, 0666);
}
