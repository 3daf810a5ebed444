/* admin_http.c - /metrics and /healthz of one program. */
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "daemon/master.h"
#include "daemon/slots.h"
#include "daemon/tables.h"

static bool is_ready(const struct master *m)
{
	bool ready = m->phase == MASTER_RUNNING;
	for (size_t i = 0; i < m->proc_count; i++) {
		const struct proc *p = &m->procs[i];
		ready =
		    ready && (!proc_is_needed(p) || (proc_is_serving(p) && slots_healthy(p->slot)));
	}
	return ready;
}

static int on_request(void *arg, struct span path, struct buf *out, const char **content_type_out)
{
	struct master *m = OBJ(master, arg);
	if (span_eq(path, SPAN("/metrics"))) {
		*content_type_out = "text/plain; version=0.0.4; charset=utf-8";
		return slots_put_metrics(out) ? 200 : 500;
	}
	if (span_eq(path, SPAN("/healthz/live"))) {
		buf_add_str(out, "live\n");
		return 200;
	}
	if (span_eq(path, SPAN("/healthz/ready"))) {
		bool ready = is_ready(m);
		buf_add_str(out, ready ? "ready\n" : "not ready\n");
		return ready ? 200 : 503;
	}
	return 404;
}

static void address_text(const struct conf_address *a, char out[LISTENER_TEXT_SIZE])
{
	char addr[IP_TEXT_SIZE];
	snprintf(out, LISTENER_TEXT_SIZE, "%s",
	    a->unix_path != NULL ? a->unix_path : ip_port_text(a->at, addr));
}

static int open_address(struct master *m, const struct conf_address *a, const char *text)
{
	int fd = inherit_socket(m, "http", "", "", text);
	if (fd >= 0)
		return fd;
	return a->unix_path != NULL ? listen_open_unix(a->unix_path, 0600) : listen_open_tcp(a->at);
}

bool admin_http_open(struct master *m)
{
	const struct conf_addresses *at = daemon_admin_addresses(m->conf, m->spec->name);
	for (size_t i = 0; at != NULL && i < at->n && m->http_count < COUNT_OF(m->http); i++) {
		address_text(&at->v[i], m->http_names[m->http_count]);
		int fd = open_address(m, &at->v[i], m->http_names[m->http_count]);
		struct http_admin *h = fd < 0 ? NULL : http_admin_new(m->loop, fd, on_request, m);
		if (h == NULL) {
			log_write(&daemon_events[DAEMON_EV_LISTEN_FAILED], NULL,
			    LOG_FIELDS(LOG_STR("name", "admin"), LOG_ADDR("address", at->v[i].at),
				LOG_STR(
				    "error", fd < 0 ? "cannot listen" : "not a loopback address")));
			if (fd >= 0)
				close(fd);
			return false;
		}
		m->http_fds[m->http_count] = fd;
		m->http[m->http_count++] = h;
	}
	return true;
}

void admin_http_close(struct master *m)
{
	for (size_t i = 0; i < m->http_count; i++) {
		http_admin_free(&m->http[i]);
		close(m->http_fds[i]);
	}
	m->http_count = 0;
}
