/* control.c - the control socket RUN_DIR/NAME.sock: one JSON line in, one JSON line out.
 *
 * The master answers some commands itself; the others go to every worker, whose JSON is gathered
 * until all have answered or CONTROL_MS have passed. Only the owner of the socket file can connect. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "daemon/link.h"
#include "daemon/master.h"
#include "daemon/slots.h"
#include "daemon/standing.h"
#include "daemon/tables.h"
#include "net/stream.h"

enum {
	CONNS_MAX = 64,
	REQUEST_MAX = 64 * 1024,
	REPLY_MAX = 64 * 1024 * 1024,
	WORDS_MAX = 64,
	CONTROL_MS = 10000,
	LINGER_MS = 5000,
};

#define control_conn_MAGIC 0xc0117701u

struct control_conn {
	uint32_t magic;
	struct master *master;
	struct list_node link;
	struct stream *io; /* owned */
	struct timer deadline;
	uint32_t ask;   /* id of the question to the workers, 0: none */
	size_t waiting; /* workers that have not answered */
	bool waits[PROCS_MAX];
	bool waits_former; /* the master before us, for its workers */
	bool upgrade;      /* waits for the end of an upgrade */
	uint32_t relayed;  /* no connection, but this question of the master after us; 0: none */
	bool known;        /* a worker knew the command */
	size_t answers;
	struct buf out;
};

static void conn_end(struct control_conn *c, bool say)
{
	timer_clear(&c->deadline);
	list_remove(&c->link);
	if (c->relayed != 0)
		link_send(c->master->upgrade.link, LINK_ANSWER, c->relayed, buf_span(&c->out), -1);
	else if (say && stream_write_span(c->io, buf_span(&c->out)))
		stream_close(&c->io, LINGER_MS);
	else
		stream_free(&c->io);
	buf_end(&c->out);
	mem_free(c);
}

static void reply_error(struct control_conn *c, const char *why)
{
	buf_clear(&c->out);
	if (c->relayed == 0) {
		buf_add_str(&c->out, "{\"ok\":false,\"error\":");
		fmt_json_string(&c->out, span_str(why));
		buf_add_str(&c->out, "}\n");
	}
	conn_end(c, true);
}

/* ---- commands of the master ---- */

static const char *const proc_state_names[] = { "down", "starting", "up", "drained", "ending" };
static const char *const phase_names[] = { "starting", "running", "drained", "replaced", "draining",
	"stopping", "keeping" };

static bool has_former(const struct master *m)
{
	return m->inherit.state == INHERIT_TAKEN && m->inherit.link >= 0;
}

static void put_status(struct control_conn *c)
{
	struct master *m = c->master;
	uint64_t now = loop_now_ms(m->loop);
	buf_printf(&c->out,
	    "{\"ok\":true,\"program\":\"%s\",\"version\":\"%s\",\"pid\":%d,\"phase\":\"%s\","
	    "\"uptime_s\":%" PRIu64 ",\"revision\":\"%016" PRIx64 "\",\"former\":%s,\"workers\":[",
	    m->spec->name, POSTERN_VERSION, (int)getpid(), phase_names[m->phase],
	    (now - m->started_ms) / 1000, conf_revision(m->conf), has_former(m) ? "true" : "false");
	const char *comma = "";
	for (size_t i = 0; i < m->proc_count; i++) {
		const struct proc *p = &m->procs[i];
		if (p->pid == 0 && !proc_is_needed(p))
			continue;
		buf_printf(&c->out,
		    "%s{\"role\":\"%s\",\"index\":%u,\"pid\":%d,\"state\":\"%s\",\"healthy\":%s,"
		    "\"restarts\":%" PRIu64 ",\"uptime_s\":%" PRIu64 "}",
		    comma, p->role->name, p->index, (int)p->pid, proc_state_names[p->state],
		    slots_healthy(p->slot) ? "true" : "false", p->restarts,
		    p->pid == 0 ? 0 : (now - p->started_ms) / 1000);
		comma = ",";
	}
	buf_add_str(&c->out, "]}\n");
}

static void cmd_status(struct control_conn *c)
{
	put_status(c);
	conn_end(c, true);
}

static void cmd_reload(struct control_conn *c)
{
	struct buf errors = BUF_INIT(REQUEST_MAX);
	if (master_reload(c->master, &errors))
		buf_add_str(&c->out, "{\"ok\":true}\n");
	else
		buf_printf(&c->out,
		    "{\"ok\":false,\"error\":\"configuration refused\",\"errors\":[%s]}\n",
		    buf_cstr(&errors));
	buf_end(&errors);
	conn_end(c, true);
}

static void cmd_drain(struct control_conn *c)
{
	master_begin_drain(c->master);
	buf_add_str(&c->out, "{\"ok\":true}\n");
	conn_end(c, true);
}

static void cmd_upgrade(struct control_conn *c)
{
	struct master *m = c->master;
	const struct root_conf *root = conf_section(m->conf, &root_block);
	c->upgrade = true;
	timer_set(&c->deadline, 2 * root->upgrade_timeout + root->drain_timeout + CONTROL_MS);
	const char *why = upgrade_begin(m);
	if (why != NULL)
		reply_error(c, why);
}

static void cmd_stop(struct control_conn *c)
{
	struct master *m = c->master;
	buf_add_str(&c->out, "{\"ok\":true}\n");
	conn_end(c, true);
	master_begin_stop(m, false);
}

static void put_text_reply(struct control_conn *c, const char *key, struct buf *text)
{
	buf_printf(&c->out, "{\"ok\":true,\"%s\":", key);
	fmt_json_string(&c->out, buf_span(text));
	buf_add_str(&c->out, "}\n");
	buf_end(text);
	conn_end(c, true);
}

static void cmd_metrics(struct control_conn *c)
{
	struct buf text = BUF_INIT(HTTP_ADMIN_BODY_MAX);
	slots_put_metrics(&text);
	put_text_reply(c, "metrics", &text);
}

static void cmd_config_dump(struct control_conn *c)
{
	struct buf text = BUF_INIT(HTTP_ADMIN_BODY_MAX);
	conf_dump(c->master->conf, &text);
	put_text_reply(c, "config", &text);
}

static const struct {
	const char *word;
	void (*fn)(struct control_conn *c);
} commands[] = {
	{ "status", cmd_status },
	{ "reload", cmd_reload },
	{ "drain", cmd_drain },
	{ "upgrade", cmd_upgrade },
	{ "stop", cmd_stop },
	{ "metrics", cmd_metrics },
	{ "config-dump", cmd_config_dump },
};

/* ---- commands of the workers ---- */

static bool all_serve(const struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (!proc_is_serving(&m->procs[i]) && proc_is_needed(&m->procs[i]))
			return false;
	return true;
}

static const char *why_no_answer(const struct control_conn *c)
{
	if (c->waiting > 0)
		return "no worker answered in time";
	return all_serve(c->master) ? "unknown command"
				    : "unknown command, or a process that is not up knows it";
}

static void ask_finish(struct control_conn *c)
{
	if (c->relayed != 0) {
		conn_end(c, true);
		return;
	}
	if (c->answers == 0 && !c->known) {
		reply_error(c, why_no_answer(c));
		return;
	}
	buf_printf(&c->out, "],\"silent\":%zu}\n", c->waiting);
	if (!buf_ok(&c->out))
		reply_error(c, "the answer is too long");
	else
		conn_end(c, true);
}

static void ask_one_less(struct control_conn *c, bool *waits)
{
	if (*waits) {
		*waits = false;
		c->waiting--;
	}
	if (c->waiting == 0)
		ask_finish(c);
}

static void ask_workers(struct control_conn *c, struct span words)
{
	struct master *m = c->master;
	c->ask = ++m->next_ask;
	if (c->relayed == 0)
		buf_add_str(&c->out, "{\"ok\":true,\"answers\":[");
	c->waits_former =
	    has_former(m) && link_send(m->inherit.link, LINK_CONTROL, c->ask, words, -1);
	c->waiting += c->waits_former;
	for (size_t i = 0; i < m->proc_count; i++) {
		struct proc *p = &m->procs[i];
		c->waits[i] =
		    proc_is_serving(p) && link_send(p->link, LINK_CONTROL, c->ask, words, -1);
		c->waiting += c->waits[i];
	}
	timer_set(&c->deadline, CONTROL_MS);
	if (c->waiting == 0)
		reply_error(c, "no worker is running");
}

void control_answer(struct master *m, struct proc *p, uint32_t id, struct span json)
{
	size_t index = (size_t)(p - m->procs);
	for (struct list_node *n = m->control_conns.next; n != &m->control_conns; n = n->next) {
		struct control_conn *c = LIST_OF(struct control_conn, link, n);
		if (c->ask != id || !c->waits[index])
			continue;
		if (json.n > 0) {
			buf_printf(&c->out, "%s{\"role\":\"%s\",\"index\":%u,\"pid\":%d,\"data\":",
			    c->answers > 0 ? "," : "", p->role->name, p->index, (int)p->pid);
			buf_add_span(&c->out, json);
			buf_add_char(&c->out, '}');
			c->answers++;
			c->known = true;
		}
		ask_one_less(c, &c->waits[index]);
		return;
	}
}

void control_former_answer(struct master *m, uint32_t id, struct span rows)
{
	for (struct list_node *n = m->control_conns.next; n != &m->control_conns; n = n->next) {
		struct control_conn *c = LIST_OF(struct control_conn, link, n);
		if (c->ask != id || !c->waits_former)
			continue;
		if (rows.n > 0) {
			buf_add_str(&c->out, c->answers > 0 ? "," : "");
			buf_add_span(&c->out, rows);
			c->answers++;
			c->known = true;
		}
		ask_one_less(c, &c->waits_former);
		return;
	}
}

void control_former_gone(struct master *m)
{
	struct list_node *next;
	for (struct list_node *n = m->control_conns.next; n != &m->control_conns; n = next) {
		struct control_conn *c = LIST_OF(struct control_conn, link, n);
		next = n->next;
		if (c->waits_former)
			ask_one_less(c, &c->waits_former);
	}
}

void control_proc_gone(struct master *m, struct proc *p)
{
	struct list_node *next;
	for (struct list_node *n = m->control_conns.next; n != &m->control_conns; n = next) {
		struct control_conn *c = LIST_OF(struct control_conn, link, n);
		next = n->next;
		if (c->waits[p - m->procs])
			ask_one_less(c, &c->waits[p - m->procs]);
	}
}

/* ---- connections ---- */

static void note_standing(struct master *m, const struct control_ask *ask)
{
	struct standing_order order;
	for (size_t i = 0; i < m->spec->role_count; i++) {
		const struct daemon_role *role = &m->spec->roles[i];
		if (role->stands != NULL && role->stands(ask, &order))
			standing_note(m->standing, &order, loop_now_ms(m->loop));
	}
}

static void on_words(struct control_conn *c, const char *const *words, size_t n)
{
	log_write(
	    &daemon_events[DAEMON_EV_CONTROL], NULL, LOG_FIELDS(LOG_STR("command", words[0])));
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i].word, words[0]) == 0) {
			commands[i].fn(c);
			return;
		}
	note_standing(c->master, &(struct control_ask){ words, n });
	struct buf b = BUF_INIT(REQUEST_MAX);
	for (size_t i = 0; i < n; i++)
		buf_add(&b, words[i], strlen(words[i]) + 1);
	ask_workers(c, buf_span(&b));
	buf_end(&b);
}

static void on_request(struct control_conn *c, struct span line)
{
	const char *words[WORDS_MAX];
	size_t n = 0;
	json_t *root = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, NULL);
	json_t *list = json_object_get(root, "words");
	for (; n < json_array_size(list) && n < WORDS_MAX; n++) {
		words[n] = json_string_value(json_array_get(list, n));
		if (words[n] == NULL)
			break;
	}
	if (n == 0 || n != json_array_size(list)) {
		log_write(&daemon_events[DAEMON_EV_CONTROL_BAD], NULL,
		    LOG_FIELDS(LOG_STR("why", "not {\"words\":[...]}")));
		reply_error(c, "a request is {\"words\":[\"command\", ...]} and a line end");
	} else {
		on_words(c, words, n);
	}
	json_decref(root);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct control_conn *c = OBJ(control_conn, arg);
	struct span in = stream_input(c->io);
	size_t end = span_find(in, '\n');
	if (ev == STREAM_FAILED || (ev == STREAM_EOF && c->ask == 0 && end == SIZE_MAX))
		conn_end(c, false);
	else if (ev == STREAM_INPUT && c->ask == 0 && end != SIZE_MAX)
		on_request(c, span_first(in, end));
	else if (ev == STREAM_INPUT && in.n >= REQUEST_MAX)
		reply_error(c, "the request is too long");
}

static void on_deadline(void *arg)
{
	struct control_conn *c = OBJ(control_conn, arg);
	if (c->ask != 0)
		ask_finish(c);
	else
		conn_end(c, false);
}

static size_t conn_count(const struct master *m)
{
	size_t n = 0;
	for (const struct list_node *at = m->control_conns.next; at != &m->control_conns;
	     at = at->next)
		n++;
	return n;
}

static struct control_conn *conn_new(struct master *m)
{
	struct control_conn *c = MEM_NEW(struct control_conn);
	c->magic = control_conn_MAGIC;
	c->master = m;
	c->out = BUF_INIT(REPLY_MAX);
	timer_init(&c->deadline, m->loop, on_deadline, c);
	timer_set(&c->deadline, CONTROL_MS);
	list_add_tail(&m->control_conns, &c->link);
	return c;
}

void control_relay(struct master *m, uint32_t id, struct span words)
{
	if (id == 0 || conn_count(m) >= CONNS_MAX)
		return;
	struct control_conn *c = conn_new(m);
	c->relayed = id;
	ask_workers(c, words);
}

void control_upgraded(struct master *m, const char *why)
{
	struct list_node *next;
	for (struct list_node *n = m->control_conns.next; n != &m->control_conns; n = next) {
		struct control_conn *c = LIST_OF(struct control_conn, link, n);
		next = n->next;
		if (!c->upgrade)
			continue;
		if (why != NULL) {
			reply_error(c, why);
			continue;
		}
		buf_printf(&c->out, "{\"ok\":true,\"pid\":%d}\n", (int)m->upgrade.pid);
		conn_end(c, true);
	}
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct master *m = OBJ(master, arg);
	if (conn_count(m) >= CONNS_MAX) {
		accepted_close(a);
		return;
	}
	struct control_conn *c = conn_new(m);
	c->io = stream_new(
	    m->loop, a->fd, (struct stream_limits){ REQUEST_MAX, REPLY_MAX + 1 }, on_stream, c);
}

bool control_open(struct master *m)
{
	struct listener_opts opts = { 0 };
	char path[256];
	m->control_fd = inherit_socket(m, "control", "", "", "");
	int n = snprintf(path, sizeof path, "%s/%s.sock", daemon_run_dir(m->conf), m->spec->name);
	if (m->control_fd < 0 && n > 0 && (size_t)n < sizeof path)
		m->control_fd = listen_open_unix(path, 0600);
	if (m->control_fd < 0) {
		log_write(&daemon_events[DAEMON_EV_LISTEN_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("name", "control"), LOG_STR("address", path),
			LOG_STR("error", "cannot listen")));
		return false;
	}
	m->control = listener_new(m->loop, m->control_fd, &opts, on_accept, m);
	return true;
}

void control_stop_listening(struct master *m)
{
	listener_free(&m->control);
	close(m->control_fd);
	m->control_fd = -1;
}

void control_close(struct master *m)
{
	char path[256];
	while (!list_empty(&m->control_conns))
		conn_end(LIST_OF(struct control_conn, link, m->control_conns.next), false);
	listener_free(&m->control);
	if (m->control_fd < 0)
		return;
	close(m->control_fd);
	snprintf(path, sizeof path, "%s/%s.sock", daemon_run_dir(m->conf), m->spec->name);
	unlink(path);
}
