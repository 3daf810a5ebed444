/* accept.c - connections come in (step 1 of 6; after: admit.c).
 *
 * Owns: one struct port for each listening socket of the worker. The limits of the worker on
 * connections are kept here, before a session costs anything: who is over them gets one line. */
#include "edge/accept.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/listen.h"
#include "proto/smtp_reply.h"

#include "edge/edge_tables.h"
#include "edge/session.h"

#define port_MAGIC 0xed6e0002u

enum { PROXY_WAITING_MAX = 4096, SHED_LINE_MAX = 512 };

struct port {
	uint32_t magic;
	struct list_node link; /* in edge->ports */
	struct edge *edge;
	char *name;                /* owned: finds the settings again after a reload */
	int fd;                    /* the daemon's */
	struct edge_setup *setup;  /* referenced: holds proxy_from for the listener */
	struct listener *listener; /* owned; NULL while the settings do not name it */
};

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

static void shed(const struct port *p, const struct edge_listener_conf *c, const struct accepted *a,
    enum reason why)
{
	struct ident id = ident_new();
	metric_add(&edge_metrics[EDGE_M_SHED], 1);
	log_write(&edge_events[EDGE_EV_SESSION_SHED], id.s,
	    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", p->name),
		LOG_STR("why", reasons[why].word)));
	if (c != NULL && c->tls != EDGE_TLS_IMPLICIT)
		send_reason(a->fd, why, id);
	close(a->fd);
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct port *p = OBJ(port, arg);
	struct edge *e = p->edge;
	const struct edge_listener_conf *c = edge_setup_listener(e->setup, p->name);
	metric_add(&edge_metrics[EDGE_M_CONNECTIONS], 1);
	if (c == NULL || e->session_n >= (size_t)e->setup->edge->connections_max)
		shed(p, c, a, WHY_TOO_BUSY);
	else if (!edge_client_enter(e, a->client.addr))
		shed(p, c, a, WHY_CLIENT_BUSY);
	else
		session_start(e, c, a);
}

static void port_open(struct port *p)
{
	const struct edge_listener_conf *c = edge_setup_listener(p->setup, p->name);
	if (c == NULL)
		return;
	struct listener_opts opts = {
		.proxy_from = c->proxy_from.n > 0 ? &c->proxy_from : NULL,
		.proxy_ms = c->proxy_timeout,
		.proxy_waiting_max = PROXY_WAITING_MAX,
	};
	p->listener = listener_new(p->edge->loop, p->fd, &opts, on_accept, p);
}

static void port_free(struct port *p)
{
	listener_free(&p->listener);
	edge_setup_unref(&p->setup);
	list_remove(&p->link);
	mem_free(p->name);
	p->magic = 0;
	mem_free(p);
}

/* May the listener made with the old settings go on under the new ones? */
static bool same_listening(const struct edge_listener_conf *a, const struct edge_listener_conf *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	if (a->proxy_timeout != b->proxy_timeout || a->proxy_from.n != b->proxy_from.n)
		return false;
	for (size_t i = 0; i < a->proxy_from.n; i++)
		if (a->proxy_from.v[i].bits != b->proxy_from.v[i].bits ||
		    !ip_eq(a->proxy_from.v[i].addr, b->proxy_from.v[i].addr))
			return false;
	return true;
}

void accept_listeners(const struct conf *c, struct daemon_listeners *out)
{
	const struct edge_conf *e = conf_section(c, &edge_block);
	for (size_t i = 0; i < e->listener_n; i++) {
		const struct conf_addresses *list = &e->listener[i]->address;
		for (size_t j = 0; j < list->n && out->n < COUNT_OF(out->v); j++)
			out->v[out->n++] = (struct daemon_listener){
				.role = "worker",
				.name = e->listener[i]->head.title,
				.at = list->v[j].at,
				.unix_path = list->v[j].unix_path,
				.unix_mode = 0666,
			};
	}
}

void accept_add(struct edge *e, const char *name, int fd)
{
	struct port *p = MEM_NEW(struct port);
	p->magic = port_MAGIC;
	p->edge = e;
	p->name = mem_str(name);
	p->fd = fd;
	p->setup = edge_setup_ref(e->setup);
	list_add_tail(&e->ports, &p->link);
	port_open(p);
}

void accept_reload(struct edge *e)
{
	for (struct list_node *n = e->ports.next; n != &e->ports; n = n->next) {
		struct port *p = LIST_OF(struct port, link, n);
		if (same_listening(edge_setup_listener(p->setup, p->name),
			edge_setup_listener(e->setup, p->name)))
			continue;
		listener_free(&p->listener);
		edge_setup_unref(&p->setup);
		p->setup = edge_setup_ref(e->setup);
		port_open(p);
	}
}

void accept_stop(struct edge *e)
{
	for (struct list_node *n = e->ports.next, *next; n != &e->ports; n = next) {
		next = n->next;
		port_free(LIST_OF(struct port, link, n));
	}
}
