/* worker.h - what all sessions of one worker share, and what the daemon asks of it. */
#ifndef EDGE_WORKER_H
#define EDGE_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/list.h"
#include "base/map.h"
#include "conf/conf.h"
#include "directory/directory.h"
#include "metermaid/metermaid.h"
#include "net/dns.h"
#include "net/loop.h"

#include "edge/commit.h"
#include "edge/dnsbl.h"
#include "edge/edge_conf.h"
#include "edge/policy.h"
#include "edge/record.h"

struct edge {
	struct loop *loop; /* borrowed */
	struct dns *dns;   /* owned, as all that follows */
	struct directory *directory;
	struct tables *tables;
	struct metermaid *meter;
	struct dnsbl *dnsbl;
	struct record_shelf *records;
	struct committer *committer;
	struct milter_health *milter_health;
	struct icap_memory *icap;
	struct policy_pool *policies;
	struct edge_setup *setup; /* the newest; sessions keep references of their own */
	struct doors *doors;      /* owned: accept.c */
	bool full,
	    leaves; /* accept.c: it has all the sessions it may; it accepts no more, for good */
	uint64_t full_told_ms; /* in the log */
	struct timer look;     /* while it is full */
	struct list_node sessions;
	struct list_node dries;         /* dry.c */
	struct list_node table_queries; /* table_query.c */
	size_t session_n;
	struct map *clients;        /* address -> how many sessions, as a number in the pointer */
	uint64_t body_memory;       /* promised to the bodies of all sessions */
	size_t memory_start;        /* memory.c: in use when the worker was ready */
	bool pressed;               /* memory.c: it comes near memory_max */
	uint64_t memory_told_ms;    /* in the log */
	bool retiring;              /* connections are still about to come in: accept.c */
	bool draining;              /* no new sessions, no new transactions */
	void (*drained)(void *arg); /* called once no session is left; NULL unless draining */
	void *drained_arg;
};

/* NULL: the configuration's TLS settings cannot be used; a sentence is in why. */
struct edge *edge_new(struct loop *l, const struct conf *conf, struct buf *why);
/* New sessions use fresh; a snapshot that cannot be used is logged and the old one stays. */
void edge_reload(struct edge *e, const struct conf *fresh);
/* Stops accepting; sessions run their course. drained as below. */
void edge_retire(struct edge *e, void (*drained)(void *arg), void *arg);
/* Who comes is told 421; sessions end with it as soon as no transaction is open. drained is called from
 * here or later, once, when none is left. */
void edge_drain(struct edge *e, void (*drained)(void *arg), void *arg);
/* Appends the sessions as a JSON array. */
void edge_who(const struct edge *e, struct buf *out);
/* Appends the decision record of a session or a mail, living or lately gone, as a JSON array. */
void edge_explain(const struct edge *e, struct span id, struct buf *out);
void edge_free(struct edge **e); /* ends every session */

/* Counts a session of a client address in and out. False: connections_per_client_max is reached. */
bool edge_client_enter(struct edge *e, struct ip_addr client);
void edge_client_leave(struct edge *e, struct ip_addr client);
/* A session has ended: is there room again, is the drain complete? */
void edge_session_gone(struct edge *e);

#endif
