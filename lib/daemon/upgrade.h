/* upgrade.h - a daemon goes on in a new binary without refusing or dropping anybody; private to lib/daemon.
 *
 * Two masters for a while, with a link between them (link.h):
 *
 *	old (upgrade.c)                              new (inherit.c)
 *	starts the new binary, sends its sockets
 *	and ticket keys ........................ ->  starts its workers; they do not accept yet
 *	                                         <-  READY: they are up and healthy
 *	ends the processes of exclusive roles .. ->  YIELDED: starts its own
 *	                                         <-  UP: everything runs
 *	hands on what operators ordered ........ ->  ORDERS: its workers know them before they accept
 *	stops accepting, retires its workers ... ->  TAKE: accepts, owns control and admin sockets, pid file
 *	joins each of them with a new one ...... ->  SESSIONS_OF: roles with give() and take() move what lives
 *	serves the sessions it has, until they
 *	end or upgrade_linger is over .......... ->  METRICS, answers to control questions
 *
 * Before TAKE the old one has given up nothing that it cannot take up again: when the new one ends, is
 * silent or is not healthy within upgrade_timeout, it is killed and the old one goes on. */
#ifndef DAEMON_UPGRADE_H
#define DAEMON_UPGRADE_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/daemon.h"
#include "net/loop.h"

struct master;
struct proc;

/* ---- the old side: upgrade.c */

enum upgrade_state {
	UPGRADE_NONE,
	UPGRADE_TRIAL,    /* the new one starts */
	UPGRADE_YIELDING, /* our exclusive roles end */
	UPGRADE_WAITING,  /* the new one starts its own */
	UPGRADE_DONE      /* it has taken over; we linger */
};

struct upgrade {
	enum upgrade_state state;
	pid_t pid; /* of the new one */
	int link;  /* -1: none */
	struct watch *watch;
	struct timer timer; /* of the state; afterwards: the next report of our counters */
	bool late;          /* exclusive roles have had their time to drain */
};

void upgrade_init(struct master *m);
void upgrade_end(struct master *m);
/* NULL: on its way, control_upgraded() tells how it ended; else why not. */
const char *upgrade_begin(struct master *m);
/* Before TAKE: the new one is ended, or it would think that it is to go on alone. */
void upgrade_abandon(struct master *m, const char *why);
/* A process or a role moves on: is the exclusive roles' end complete? */
void upgrade_step(struct master *m);
void upgrade_child_ended(struct master *m, pid_t pid, int wait_status);
/* Is p not to be started again, because the new one runs its role? */
bool upgrade_keeps_down(const struct proc *p);
/* After TAKE: to the daemon as it is now, whose pid is in the pid file. */
void upgrade_forward(struct master *m, int signo);
/* The last worker of a master that was replaced has ended. True: it stays, for whoever watches its pid, until
 * the daemon has ended. */
bool upgrade_stays(struct master *m);

/* ---- the new side: inherit.c */

enum inherit_state {
	INHERIT_NONE,
	INHERIT_TRIAL,   /* until our workers are healthy */
	INHERIT_PROVEN,  /* the old one ends its exclusive roles */
	INHERIT_YIELDED, /* we start ours */
	INHERIT_UP,      /* about to take over */
	INHERIT_TAKEN    /* the old one lingers */
};

struct inherited_socket;

struct inheritance {
	enum inherit_state state;
	int link; /* -1: no predecessor (any more) */
	struct watch *watch;
	struct timer timer;
	struct inherited_socket *sockets; /* owned; until TAKE */
	size_t count;
};

/* Takes what the predecessor sends, when there is one. False: it is gone, or does not speak our way. */
bool inherit_receive(struct master *m);
/* The descriptor of a socket with these words, which is the caller's now; -1: there is none. */
int inherit_socket(
    struct master *m, const char *kind, const char *role, const char *name, const char *where);
void inherit_begin(struct master *m);       /* the loop is there and the workers are started */
void inherit_step(struct master *m);        /* a worker is up */
bool inherit_waits(const struct master *m); /* nothing is taken over yet */
/* Its processes are not to be started yet. */
bool inherit_holds_back(const struct master *m, const struct daemon_role *role);
void inherit_end(struct master *m);

#endif
