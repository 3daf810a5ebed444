/* worker.h - what all sessions of one worker share, and what the daemon asks of it. */
#ifndef MMP_WORKER_H
#define MMP_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"
#include "conf/conf.h"
#include "directory/directory.h"
#include "metermaid/metermaid.h"
#include "net/dns.h"
#include "net/loop.h"

#include "mmp/backend_health.h"
#include "mmp/capability.h"
#include "mmp/mmp_conf.h"

struct failures;
struct giving;
struct orders;
struct store_load;
struct store_watch;

struct mmp {
	struct loop *loop; /* borrowed */
	struct dns *dns;   /* owned, as all that follows */
	struct directory *directory;
	struct metermaid *meter;
	struct backend_health *health;
	struct store_watch *watch;
	struct capability *capability[MMP_PROTOCOLS]; /* of the stores, in the words of `setup` */
	struct store_load *load;
	struct failures *failures;
	struct orders *orders;
	struct mmp_setup *setup;   /* the newest; sessions keep references of their own */
	struct doors *doors;       /* owned: accept.c */
	struct list_node prelogin; /* struct session, the one idle longest first */
	size_t prelogin_n;
	uint64_t prelogin_bytes; /* crowd.c, as the next two */
	bool full;               /* no connections are taken */
	uint64_t full_told_ms;   /* when that was logged last; 0: never */
	struct list_node piped;  /* struct piped: pipe.c */
	size_t piped_n;
	struct giving *giving;  /* owned: give.c, in an old worker; NULL: nothing is handed over */
	struct list_node dries; /* struct dry, owned: dry.c */
	struct list_node takings; /* struct taking, owned: take.c, in a new one */
	bool retired;             /* a newer process accepts in its place */
	bool retiring;            /* connections are still about to come in: accept.c */
	bool draining;            /* no new sessions, and none waits for a command */
	struct timer ending;      /* armed while sessions are being ended, until: */
	uint64_t ended_ms;
	void (*drained)(void *arg); /* called once no session is left; NULL unless draining */
	void *drained_arg;
};

/* NULL: the configuration's TLS settings cannot be used; a sentence is in why. */
struct mmp *mmp_new(struct loop *l, const struct conf *conf, struct buf *why);
/* New sessions use fresh; a snapshot that cannot be used is logged and the old one stays. */
void mmp_reload(struct mmp *m, const struct conf *fresh);
/* Stops accepting; sessions run their course. drained as below. */
void mmp_retire(struct mmp *m, void (*drained)(void *arg), void *arg);
/* Stops accepting and ends sessions that wait for a command before login; the others run on. drained
 * is called from here or later, once, when none is left. */
void mmp_drain(struct mmp *m, void (*drained)(void *arg), void *arg);
/* What is left will be stopped in ms: sessions after login end one after the other before that, told in their
 * protocol's words where they are idle. */
void mmp_stopping(struct mmp *m, uint64_t ms);
/* Appends the sessions after login as a JSON array. */
void mmp_who(const struct mmp *m, struct buf *out);
void mmp_free(struct mmp **m); /* ends every session */

/* A session or a pipe has ended: is the drain complete? */
void mmp_session_gone(struct mmp *m);

#endif
