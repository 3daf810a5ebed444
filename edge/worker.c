/* worker.c - what the sessions of one worker share: made, reloaded, drained, freed.
 *
 * Owns: struct edge. */
#include "edge/worker.h"

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon.h"

#include "edge/accept.h"
#include "edge/dry.h"
#include "edge/edge_tables.h"
#include "edge/memory.h"
#include "edge/milter.h"
#include "edge/scan_icap.h"
#include "edge/session.h"
#include "edge/table_query.h"

enum { CLIENTS_MAX = 1000000, WHY_MAX = 512, RECORDS_BYTES = 4 * 1024 * 1024 };

static struct tables_opts tables_of(const struct edge *e, const struct edge_setup *setup)
{
	return (struct tables_opts){ .loop = e->loop,
		.dns = e->dns,
		.conf = setup->conf,
		.blocks = setup->edge->table,
		.n = setup->edge->table_n };
}

struct edge *edge_new(struct loop *l, const struct conf *conf, struct buf *why)
{
	struct edge_setup *setup = edge_setup_new(conf, why);
	if (setup == NULL)
		return NULL;
	struct edge *e = MEM_NEW(struct edge);
	e->loop = l;
	e->setup = setup;
	e->dns = daemon_dns(l, conf);
	e->directory = directory_new(l, e->dns, conf);
	struct tables_opts tables = tables_of(e, setup);
	e->tables = tables_new(&tables);
	e->meter = metermaid_new(l, e->dns, conf);
	e->dnsbl = dnsbl_new(l, e->dns, setup->edge);
	e->records = record_shelf_new(RECORDS_BYTES);
	e->committer = committer_new(l, e->dns, e->directory, conf);
	e->milter_health = milter_health_new();
	e->icap = icap_memory_new();
	e->policies = policy_pool_new(l, e->dns, e->milter_health);
	e->clients = map_new(CLIENTS_MAX);
	e->doors = accept_doors_new(e);
	list_init(&e->sessions);
	list_init(&e->dries);
	list_init(&e->table_queries);
	memory_start(e);
	return e;
}

void edge_reload(struct edge *e, const struct conf *fresh)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct edge_setup *setup = edge_setup_new(fresh, &why);
	if (setup == NULL) {
		log_write(&edge_events[EDGE_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_SPAN("detail", buf_span(&why))));
	} else {
		struct tables_opts tables = tables_of(e, setup);
		tables_reload(e->tables, &tables);
		directory_reload(e->directory, fresh);
		metermaid_reload(e->meter, fresh);
		committer_reload(e->committer, fresh);
		dnsbl_reload(e->dnsbl, setup->edge);
		edge_setup_unref(&e->setup);
		e->setup = setup;
		doors_reload(e->doors);
		accept_settle(e);
	}
	buf_end(&why);
}

static struct span client_key(const struct ip_addr *client)
{
	return span_of(client->b, sizeof client->b);
}

/* The count of an address stands in the map as a pointer that is never followed. */
static size_t client_count(const struct edge *e, const struct ip_addr *client)
{
	return (size_t)(uintptr_t)map_get(e->clients, client_key(client));
}

bool edge_client_enter(struct edge *e, struct ip_addr client)
{
	size_t n = client_count(e, &client);
	if (n >= (size_t)e->setup->edge->connections_per_client_max)
		return false;
	return map_set(e->clients, client_key(&client), (void *)(uintptr_t)(n + 1), NULL);
}

void edge_client_leave(struct edge *e, struct ip_addr client)
{
	size_t n = client_count(e, &client);
	CHECK(n > 0);
	if (n == 1)
		map_remove(e->clients, client_key(&client));
	else
		map_set(e->clients, client_key(&client), (void *)(uintptr_t)(n - 1), NULL);
}

void edge_session_gone(struct edge *e)
{
	accept_settle(e);
	void (*drained)(void *arg) = e->drained;
	if (drained == NULL || e->retiring || e->session_n > 0)
		return;
	e->drained = NULL;
	drained(e->drained_arg);
}

static void on_doors_left(void *arg)
{
	struct edge *e = arg;
	e->retiring = false;
	edge_session_gone(e);
}

void edge_retire(struct edge *e, void (*drained)(void *arg), void *arg)
{
	e->retiring = true;
	e->drained = drained;
	e->drained_arg = arg;
	accept_stop(e);
	doors_retire(e->doors, on_doors_left, e);
}

void edge_drain(struct edge *e, void (*drained)(void *arg), void *arg)
{
	e->draining = true;
	e->retiring = false;
	e->drained = drained;
	e->drained_arg = arg;
	accept_stop(e);
	/* Who comes is told, by a full worker, too. After edge_retire() the doors stay shut: who comes is a newer process's. */
	doors_drain(e->doors);
	for (struct list_node *n = e->sessions.next, *next; n != &e->sessions; n = next) {
		next = n->next;
		struct session *s = LIST_OF(struct session, link, n);
		if (session_is_idle(s))
			session_end_now(s, WHY_DRAINED);
	}
	edge_session_gone(e);
}

void edge_who(const struct edge *e, struct buf *out)
{
	buf_add_char(out, '[');
	for (const struct list_node *n = e->sessions.next; n != &e->sessions; n = n->next) {
		if (n != e->sessions.next)
			buf_add_char(out, ',');
		session_put_json(LIST_OF(const struct session, link, n), out);
	}
	buf_add_char(out, ']');
}

void edge_explain(const struct edge *e, struct span id, struct buf *out)
{
	struct span checks = record_find(e->records, id);
	for (const struct list_node *n = e->sessions.next; checks.n == 0 && n != &e->sessions;
	     n = n->next)
		checks = session_record(LIST_OF(const struct session, link, n), id);
	buf_printf(out, "[%.*s]", SPAN_ARG(checks));
}

void edge_free(struct edge **e)
{
	struct edge *gone = *e;
	*e = NULL;
	if (gone == NULL)
		return;
	gone->drained = NULL;
	accept_stop(gone);
	doors_free(&gone->doors);
	while (!list_empty(&gone->sessions))
		session_drop(LIST_OF(struct session, link, gone->sessions.next), WHY_STOPPED);
	dry_free_all(gone);
	table_query_free_all(gone);
	committer_free(&gone->committer);
	tables_free(&gone->tables);
	directory_free(&gone->directory);
	metermaid_free(&gone->meter);
	dnsbl_free(&gone->dnsbl);
	record_shelf_free(&gone->records);
	policy_pool_free(&gone->policies);
	dns_free(&gone->dns);
	milter_health_free(&gone->milter_health);
	icap_memory_free(&gone->icap);
	map_free(&gone->clients);
	edge_setup_unref(&gone->setup);
	mem_free(gone);
}
