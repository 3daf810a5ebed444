/* master.h - the master process's state, shared by the files of lib/daemon that act on it. */
#ifndef DAEMON_MASTER_H
#define DAEMON_MASTER_H

#include <sys/types.h>

#include "base/list.h"
#include "daemon/daemon.h"
#include "daemon/daemon_conf.h"
#include "daemon/link.h"
#include "daemon/worker.h"
#include "daemon/upgrade.h"
#include "net/http.h"
#include "net/listen.h"

enum { PROCS_MAX = 512, MASTER_LISTENERS_MAX = 128, LISTENER_TEXT_SIZE = 128 };

/* In the environment of a new program: the descriptor of its link to the old one. */
#define INHERIT_VARIABLE "POSTERN_INHERIT"

enum proc_state { PROC_DOWN, PROC_STARTING, PROC_UP, PROC_DRAINED, PROC_ENDING };

/* One place for a worker; the process in it may change. */
struct proc {
	uint32_t magic;
	struct master *master;
	const struct daemon_role *role;
	unsigned index; /* within its role */
	size_t slot;
	enum proc_state state;
	pid_t pid; /* 0 when down */
	int link;  /* -1 when down */
	struct watch *link_watch;
	struct timer restart; /* armed while down and wanted */
	uint64_t started_ms, backoff_ms;
	uint64_t restarts;
	bool leaves; /* the configuration needs it no longer: it drains, then it is stopped */
};
#define proc_MAGIC 0x9e0c0a11u

enum master_phase {
	MASTER_STARTING,
	MASTER_RUNNING,
	MASTER_DRAINED,  /* asked to drain without stopping */
	MASTER_REPLACED, /* a new master has taken over: sessions may run their course */
	MASTER_DRAINING, /* on the way to stop: sessions may finish */
	MASTER_STOPPING, /* roles end one after the other */
	MASTER_KEEPING,  /* replaced and empty: stays for whoever watches this pid */
};

#define master_MAGIC 0x3a57e4e1u

struct master {
	uint32_t magic;
	const struct daemon_spec *spec;
	struct daemon_schema schema;
	const char *conf_path;
	char **argv;   /* of main() */
	char *program; /* owned: the file that runs */
	int exit_status;
	struct conf_strings overrides;
	struct loop *loop;
	struct conf *conf;
	struct buf packed;         /* the source of conf, for workers that reload */
	struct files *files;       /* owned: files.c */
	struct standing *standing; /* owned: orders that outlast a process */
	struct timer ticket_age;   /* when our own ticket key is due for the next */
	enum master_phase phase;
	bool force; /* stop without draining */
	size_t stopping_role;
	struct upgrade upgrade;
	struct inheritance inherit;
	size_t former_slot;    /* the totals of the master before */
	struct timer deadline; /* of the phase */
	uint64_t started_ms;
	struct proc *procs;
	size_t proc_count;
	struct open_listener listeners[MASTER_LISTENERS_MAX];
	size_t listener_count;
	struct loop_signal *signals[7];
	struct listener *control;
	int control_fd;
	struct list_node control_conns; /* struct control_conn */
	uint32_t next_ask;
	struct http_admin *http[8];
	int http_fds[8];
	char http_names[8][LISTENER_TEXT_SIZE];
	size_t http_count;
};

/* master.c */
int master_run(struct master *m);
void master_begin_stop(struct master *m, bool force);
void master_begin_drain(struct master *m);
void master_drain_all(struct master *m); /* our processes, and those of masters before us */
bool proc_is_serving(const struct proc *p);
bool proc_is_needed(const struct proc *p); /* by the configuration that is in use */
void proc_stop(struct proc *p);            /* asks it to end */
void proc_revive(struct proc *p);          /* starts it if it is down and wanted */
void master_send_all(struct master *m, enum link_type type, struct span payload);
/* What stands (standing.h), to the processes whose role knows of it. */
void master_say_orders(struct master *m);
/* Everything has come up, perhaps: then that is told, and the phase is RUNNING. */
void master_announce(struct master *m);
void master_step(struct master *m); /* as far towards the end as the processes allow */
/* The workers serve what they have, for at most so long. */
void master_retire(struct master *m, uint64_t linger_ms);
/* The listening sockets are the new master's: closed here, with their files left alone. */
void master_forget_listeners(struct master *m);

void master_reap(struct master *m); /* children have ended */

/* signals.c */
void signals_watch(struct master *m);
void signals_end(struct master *m);

/* pid_file.c: RUN_DIR/NAME.pid */
void pid_file_write(const struct master *m);
void pid_file_remove(const struct master *m); /* if it is ours */
pid_t pid_file_read(const struct master *m);  /* 0: there is none */

/* reload.c: loads and checks the file; on failure every error is logged and, when out is not NULL,
 * appended as a JSON array of strings. */
struct conf *master_load(struct master *m, struct buf *errors_out);
void listener_text(const struct daemon_listener *at, char out[LISTENER_TEXT_SIZE]);
bool master_open_listeners(struct master *m, const struct conf *c, struct buf *why);
/* The sockets of the role are shut, for good: nobody is to wait in a queue that nobody looks into any more. */
void master_refuse_clients(struct master *m, const struct daemon_role *role);
void master_refuse_early(
    struct master *m); /* the daemon drains or stops: of the roles with refuses_drained */
bool master_reload(struct master *m, struct buf *errors_out);
/* The configuration from here on, here and in the workers; m->packed is its source. */
void master_adopt(struct master *m, struct conf *take_fresh);

/* files.c: begins to watch the files that m->conf names, or begins anew after a reload. */
void files_watch(struct master *m);
void files_end(struct master *m);

/* control.c */
bool control_open(struct master *m);
void control_close(struct master *m);
void control_answer(struct master *m, struct proc *p, uint32_t id, struct span json);
void control_proc_gone(struct master *m, struct proc *p);
void control_stop_listening(struct master *m);            /* the connections that are there go on */
void control_upgraded(struct master *m, const char *why); /* NULL: it worked */
/* A question that the new master's control socket was asked: words, NUL-separated. */
void control_relay(struct master *m, uint32_t id, struct span words);
/* The old master's answer to one: rows of "answers", or nothing. */
void control_former_answer(struct master *m, uint32_t id, struct span rows);
void control_former_gone(struct master *m);

/* admin_http.c */
bool admin_http_open(struct master *m);
void admin_http_close(struct master *m);

#endif
