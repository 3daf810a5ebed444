/* reload.c - reads the configuration in the master, opens what it asks for, hands it to the workers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <pwd.h>
#include <poll.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "daemon/link.h"
#include "daemon/master.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"

enum {
	PACKED_MAX = 32 * 1024 * 1024,
	BIND_MS = 5000, /* after the start */
	BIND_AGAIN_MS = 20
};

static void report(const struct conf_diag *d, struct buf *errors_out)
{
	size_t n = conf_error_count(d);
	for (size_t i = 0; i < n; i++) {
		const char *text = conf_error_text(d, i);
		log_write(&daemon_events[DAEMON_EV_CONFIG_REFUSED], NULL,
		    LOG_FIELDS(LOG_STR("error", text)));
		if (errors_out == NULL)
			continue;
		buf_add_str(errors_out, i > 0 ? "," : "");
		fmt_json_string(errors_out, span_str(text));
	}
}

struct conf *master_load(struct master *m, struct buf *errors_out)
{
	struct conf_diag *d = conf_diag_new();
	struct conf_source *src = conf_source_disk(m->conf_path);
	struct conf *c = conf_load(&m->schema.schema, src, &m->overrides, d);
	struct buf packed = BUF_INIT(PACKED_MAX);
	if (c != NULL && !conf_source_pack(src, &packed)) {
		conf_error(
		    d, (struct conf_pos){ m->conf_path, 1, 1 }, "the files it names are too large");
		conf_unref(&c);
	}
	if (c != NULL) {
		buf_wipe_end(&m->packed);
		m->packed = packed;
	} else {
		buf_wipe_end(&packed);
		report(d, errors_out);
	}
	conf_source_free(&src);
	conf_diag_free(&d);
	return c;
}

/* ---- listeners ---- */

void daemon_listeners_add(struct daemon_listeners *out, const char *role, const char *name,
    const struct conf_addresses *at, unsigned unix_mode)
{
	for (size_t i = 0; i < at->n && out->n < COUNT_OF(out->v); i++)
		out->v[out->n++] = (struct daemon_listener){
			.role = role,
			.name = name,
			.at = at->v[i].at,
			.unix_path = at->v[i].unix_path,
			.unix_mode = unix_mode,
		};
}

void listener_text(const struct daemon_listener *at, char out[LISTENER_TEXT_SIZE])
{
	char addr[IP_TEXT_SIZE];
	snprintf(out, LISTENER_TEXT_SIZE, "%s",
	    at->unix_path != NULL ? at->unix_path : ip_port_text(at->at, addr));
}

static bool same_listener(const struct daemon_listener *a, const struct daemon_listener *b)
{
	if (strcmp(a->role, b->role) != 0 || strcmp(a->name, b->name) != 0 ||
	    (a->unix_path == NULL) != (b->unix_path == NULL))
		return false;
	if (a->unix_path != NULL)
		return strcmp(a->unix_path, b->unix_path) == 0;
	return ip_eq(a->at.addr, b->at.addr) && a->at.port == b->at.port;
}

static bool is_open(const struct master *m, const struct daemon_listener *at)
{
	for (size_t i = 0; i < m->listener_count; i++)
		if (same_listener(&m->listeners[i].at, at))
			return true;
	return false;
}

static int open_one(const struct conf *c, const struct daemon_listener *at)
{
	const struct root_conf *root = conf_section(c, &root_block);
	if (at->unix_path == NULL)
		return listen_open_tcp(at->at);
	int fd = listen_open_unix(at->unix_path, at->unix_mode);
	if (fd >= 0 && geteuid() == 0 && root->user != NULL) {
		const struct passwd *pw = getpwnam(root->user);
		if (pw == NULL || chown(at->unix_path, pw->pw_uid, pw->pw_gid) != 0) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static bool keep_listener(struct master *m, const struct daemon_listener *at, int fd)
{
	struct open_listener *l = &m->listeners[m->listener_count];
	if (m->listener_count == MASTER_LISTENERS_MAX) {
		close(fd);
		return false;
	}
	*l = (struct open_listener){ *at, fd };
	l->at.role = mem_str(at->role);
	l->at.name = mem_str(at->name);
	l->at.unix_path = mem_str(at->unix_path);
	m->listener_count++;
	return true;
}

/* Workers of a master that was killed hold its addresses until they notice: a start waits for them. */
static int open_in_time(struct master *m, const struct conf *c, const struct daemon_listener *at)
{
	uint64_t until = m->started_ms + BIND_MS;
	char text[LISTENER_TEXT_SIZE];
	listener_text(at, text);
	int fd = inherit_socket(m, "listener", at->role, at->name, text);
	if (fd >= 0)
		return fd;
	fd = open_one(c, at);
	while (fd < 0 && errno == EADDRINUSE && clock_mono_ms() < until) {
		poll(NULL, 0, BIND_AGAIN_MS);
		fd = open_one(c, at);
	}
	return fd;
}

bool master_open_listeners(struct master *m, const struct conf *c, struct buf *why)
{
	static struct daemon_listeners wanted;
	char text[LISTENER_TEXT_SIZE];
	bool ok = true;
	wanted.n = 0;
	if (m->spec->listeners != NULL)
		m->spec->listeners(c, &wanted);
	for (size_t i = 0; i < wanted.n; i++) {
		if (is_open(m, &wanted.v[i]))
			continue;
		int fd = open_in_time(m, c, &wanted.v[i]);
		if (fd >= 0 && keep_listener(m, &wanted.v[i], fd))
			continue;
		listener_text(&wanted.v[i], text);
		log_write(&daemon_events[DAEMON_EV_LISTEN_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("name", wanted.v[i].name), LOG_STR("address", text),
			LOG_STR("error", strerror(errno))));
		buf_printf(why, "%s %s: %s", wanted.v[i].name, text, strerror(errno));
		ok = false;
	}
	for (size_t i = 0; i < m->listener_count; i++) {
		bool still = false;
		for (size_t k = 0; k < wanted.n; k++)
			still = still || same_listener(&m->listeners[i].at, &wanted.v[k]);
		listener_text(&m->listeners[i].at, text);
		if (!still)
			log_write(&daemon_events[DAEMON_EV_LISTENER_STAYS], NULL,
			    LOG_FIELDS(LOG_STR("name", m->listeners[i].at.name),
				LOG_STR("address", text)));
	}
	return ok;
}

void master_refuse_clients(struct master *m, const struct daemon_role *role)
{
	if (inherit_waits(m)) /* they are the other master's still */
		return;
	for (size_t i = 0; i < m->listener_count; i++)
		if (strcmp(role->name, m->listeners[i].at.role) == 0)
			shutdown(m->listeners[i].fd, SHUT_RD);
}

void master_refuse_early(struct master *m)
{
	for (size_t i = 0; i < m->spec->role_count; i++)
		if (m->spec->roles[i].refuses_drained)
			master_refuse_clients(m, &m->spec->roles[i]);
}

/* ---- reload ---- */

static void send_listener(struct master *m, const struct open_listener *l)
{
	char addr[IP_TEXT_SIZE];
	struct buf b = BUF_INIT(1024);
	buf_add(&b, l->at.role, strlen(l->at.role) + 1);
	buf_add(&b, l->at.name, strlen(l->at.name) + 1);
	buf_add_str(&b, l->at.unix_path != NULL ? l->at.unix_path : ip_port_text(l->at.at, addr));
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].pid != 0 && strcmp(m->procs[i].role->name, l->at.role) == 0)
			link_send(m->procs[i].link, LINK_LISTENER, 0, buf_span(&b), l->fd);
	buf_end(&b);
}

static void warn_restart_options(const struct conf *old, const struct conf *fresh)
{
	struct buf names = BUF_INIT(1024);
	if (conf_restart_needed(old, fresh, &names) > 0)
		log_write(&daemon_events[DAEMON_EV_NEEDS_RESTART], NULL,
		    LOG_FIELDS(LOG_SPAN("options", buf_span(&names))));
	buf_end(&names);
}

static bool refuse(struct buf *errors_out, struct span why)
{
	metric_add(&daemon_metrics[DAEMON_M_RELOADS_REFUSED], 1);
	if (errors_out != NULL && why.n > 0)
		fmt_json_string(errors_out, why);
	return false;
}

/* Processes are there of the roles that the configuration needs. */
static void fit_roles(struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++) {
		struct proc *p = &m->procs[i];
		if (proc_is_needed(p)) {
			proc_revive(p);
		} else if (p->state == PROC_DRAINED) {
			p->leaves = true;
			proc_stop(p);
		} else if (p->pid != 0 && !p->leaves) {
			p->leaves = true;
			link_send(p->link, LINK_DRAIN, 0, SPAN_NONE, -1);
		}
	}
}

void master_adopt(struct master *m, struct conf *take_fresh)
{
	conf_unref(&m->conf);
	m->conf = take_fresh;
	daemon_log_setup(m->conf, m->spec->name, NULL, 0);
	tickets_use(m->conf);
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].pid != 0)
			link_send(m->procs[i].link, LINK_RELOAD, 0, buf_span(&m->packed), -1);
	fit_roles(m);
}

bool master_reload(struct master *m, struct buf *errors_out)
{
	struct buf why = BUF_INIT(1024);
	size_t had = m->listener_count;
	bool busy = m->upgrade.state != UPGRADE_NONE || inherit_waits(m);
	if (busy)
		return refuse(errors_out, SPAN("an upgrade is under way"));
	struct conf *fresh = master_load(m, errors_out);
	if (fresh == NULL)
		return refuse(errors_out, SPAN_NONE);
	if (!master_open_listeners(m, fresh, &why)) {
		conf_unref(&fresh);
		refuse(errors_out, buf_span(&why));
		buf_end(&why);
		return false;
	}
	buf_end(&why);
	warn_restart_options(m->conf, fresh);
	for (; had < m->listener_count; had++)
		send_listener(m, &m->listeners[had]);
	master_adopt(m, fresh);
	files_watch(m);
	metric_add(&daemon_metrics[DAEMON_M_RELOADS], 1);
	log_write(&daemon_events[DAEMON_EV_RELOADED], NULL,
	    LOG_FIELDS(LOG_U64("revision", conf_revision(fresh))));
	return true;
}
