/* daemon.h - the skeleton of every Postern daemon: the author writes tables and a start function.
 *
 * Master: reads the configuration, opens the listeners, forks the workers of each role, restarts what
 * dies (with back-off), reloads, drains, answers the control socket and /metrics. Worker: one process,
 * one loop, unprivileged.
 *
 * Command line of every daemon: -c FILE, -t (check and exit), -o section.option=value, -V, and
 * words for spec.tool, and
 * -p sections|dump|sample|reference[=SECTION] (print and exit; an empty SECTION is the top level).
 * Exit status 0 ok, 64 usage, 78 configuration, 70 bug. Signals to the master: HUP reload, TERM and INT
 * drain with a deadline then stop, QUIT stop now, USR1 drain without stopping, USR2 upgrade (upgrade.h).
 *
 * Top-level options and sections that lib/daemon owns, common to all programs (root.params.def):
 * hostname, run_dir (control sockets), user (to become when started as root), log_level, log_format,
 * workers (0 = one per core), drain_timeout, dns_servers; section `tls { cert NAME { chain PATH; key
 * file:PATH; } ca PATH; ticket_key file:PATH; }`; section `admin { mmp ADDRESS; edge ADDRESS; ... }` for
 * /metrics and /healthz of each program.
 *
 * Roles start in the order of their table and are stopped in the reverse order, so a role that others
 * lean on (a queue, a committer) stands first. A removed listener stays open until a restart. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ip.h"
#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/tls_ctx.h"

struct worker;

/* A socket the master opens and keeps over reloads and worker deaths. */
struct daemon_listener {
	const char *role;      /* whose workers accept on it */
	const char *name;      /* "imap": the program finds its settings by it */
	struct ip_port at;     /* or: */
	const char *unix_path; /* NULL for TCP */
	unsigned unix_mode;    /* e.g. 0600 */
};
struct daemon_listeners {
	struct daemon_listener v[64];
	size_t n;
};
/* One for each address of a listener's block; name is borrowed. What does not fit is left out. */
void daemon_listeners_add(struct daemon_listeners *out, const char *role, const char *name,
    const struct conf_addresses *at, unsigned unix_mode);

/* A question that came over the control socket, e.g. words = { "who", "--user", "a@b" }. */
struct control_ask {
	const char *const *words;
	size_t n;
};

/* WORD KIND VALUE SECONDS: a command of a role that goes on for a time. */
struct standing_order {
	const char *word, *kind, *value; /* borrowed */
	uint64_t seconds;                /* 0: stands no longer */
};

struct daemon_role {
	const char *name;                        /* "worker", "queue", "committer" */
	unsigned (*count)(const struct conf *c); /* processes; NULL: root option workers */
	/* Does this configuration need the role's processes? Asked in the master at the start and after each reload: one
	 * that has come to be needed is started, one that no longer is drains and ends. NULL: always. */
	bool (*needed)(const struct conf *c);
	void (*start)(struct worker *w); /* set up on the loop and return */
	void (*reload)(
	    struct worker *w, const struct conf *fresh); /* new sessions use it; may be NULL */
	void (*drain)(struct worker *w); /* no new work; call worker_drained() when done */
	/* Who comes to a daemon that drains or stops is never left to wait. True: the sockets refuse from the first moment, so that
	 * clients and balancers go elsewhere at once. False: the workers go on accepting, to say in the protocol's words
	 * that the service goes down; the sockets refuse when the workers are told to end. */
	bool refuses_drained;
	/* After drain(): what is left will be stopped in ms. To end it before, gently. NULL: nothing. */
	void (*stopping)(struct worker *w, uint64_t ms);
	/* A newer process accepts in its place: lets go of every listening socket, lets each session run its
	 * course, and calls worker_drained() when none is left. drain() may follow. NULL: as drain(). */
	void (*retire)(struct worker *w);
	/* At an upgrade, after retire(), and in the new binary's worker: a SOCK_SEQPACKET connection between the two,
	 * over which sessions that live move; each takes its end. An old worker has one, a new one has any
	 * number; when the other side knows nothing of it, it closes. Both NULL: sessions run their course in the old. */
	void (*give)(struct worker *w, int take_fd);
	void (*take)(struct worker *w, int take_fd);
	/* Of two masters during an upgrade only one may run it: the old one's processes are drained and ended
	 * before the new one's start. They must come to life again on what those have left. */
	bool exclusive;
	/* Started as root, it stays root, and its children may gain rights by set-user-ID programs: for a process that
	 * must become others. It has to be small, and to believe nobody. */
	bool keeps_rights;
	/* Appends one JSON value to out; false: not a command of this role. NULL: none. */
	bool (*control)(struct worker *w, const struct control_ask *ask, struct buf *out);
	/* Of a command that control() knows, in the master: does it give, or end, an order that outlasts the process?
	 * Then each process of the role that starts is asked control() for it, with the seconds that are left, and so are
	 * those of a new binary before they accept. The answer goes to nobody. NULL: none does. */
	bool (*stands)(const struct control_ask *ask, struct standing_order *out);
	/* Could this worker serve? Asked every two seconds, for /healthz/ready. NULL: as worker_set_healthy()
	 * says, or always. */
	bool (*healthy)(struct worker *w);
	void (*stop)(struct worker *w); /* free everything: leak checkers watch */
};

struct daemon_spec {
	const char *name;                 /* "mmp" */
	const struct conf_schema *schema; /* root and common sections are added */
	const struct daemon_role *roles;
	size_t role_count;
	void (*listeners)(const struct conf *c, struct daemon_listeners *out);
	void (*prepare)(void); /* once, before workers: metric_register() */
	/* Words behind the options: does that, in this process, and returns the exit status. NULL: none. */
	int (*tool)(const struct conf *c, const char *const *words, size_t n);
};

int daemon_main(const struct daemon_spec *spec, int argc, char **argv);

/* Worker side. */
struct loop *worker_loop(struct worker *w);
const struct conf *worker_conf(struct worker *w); /* the newest snapshot */
const char *worker_role(struct worker *w);
unsigned worker_index(struct worker *w); /* 0 .. count-1 within its role */
void *worker_data(struct worker *w);
void worker_set_data(struct worker *w, void *data);
void worker_drained(struct worker *w);
bool worker_draining(struct worker *w);
/* For /healthz/ready: false while this worker could not serve (directory away, no store ...). Starts
 * as true. */
void worker_set_healthy(struct worker *w, bool healthy);
/* Calls fn for each listening descriptor of this worker's role; again after a reload for new ones
 * only (names are stable). The descriptor stays the worker's. During an upgrade there are none until reload(),
 * with the configuration as it is, tells that they have come. */
void worker_each_listener(
    struct worker *w, void (*fn)(void *arg, const struct daemon_listener *at, int fd), void *arg);

/* Inside a role's control(): the answer, one JSON value, will come later by worker_answer() with the
 * number this returns; what is in out then is not used. The asker waits 10 seconds. */
uint32_t worker_answer_later(struct worker *w);
void worker_answer(struct worker *w, uint32_t ask, struct span json);

/* Root facts and the common TLS section. */
const char *daemon_hostname(const struct conf *c);
const char *daemon_run_dir(const struct conf *c);
const char *daemon_user(const struct conf *c); /* whom workers become; NULL: nobody else */
unsigned daemon_workers(const struct conf *c); /* processes of a role that has no count() */
/* Server context with every certificate of the tls section (SNI); NULL and a reason when there is none
 * or it is broken. client context: verifies against tls.ca. Caller unrefs. */
struct tls_ctx *daemon_tls_server(const struct conf *c, const char *alpn, struct buf *why);
/* The same that also asks clients for a certificate of these authorities; it may be missing. */
struct tls_ctx *daemon_tls_server_asking(
    const struct conf *c, const char *alpn, struct span client_ca_pem, struct buf *why);
/* Asks for client certificates whether there are authorities (client_ca_pem) or not: for keys that are known. */
struct tls_ctx *daemon_tls_server_knowing(
    const struct conf *c, struct span client_ca_pem, struct buf *why);
struct tls_ctx *daemon_tls_client(const struct conf *c, enum tls_verify verify, struct buf *why);
/* The same with a certificate of our own to show; empty spans: none. */
struct tls_ctx *daemon_tls_client_as(
    const struct conf *c, enum tls_verify verify, const struct tls_pair *pair, struct buf *why);
/* A resolver with the root options dns_servers and dns_timeout; caller frees. */
struct dns *daemon_dns(struct loop *l, const struct conf *c);

#endif
