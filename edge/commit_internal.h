/* commit_internal.h - the objects behind commit.h; for commit.c and commit_store.c only. */
#ifndef EDGE_COMMIT_INTERNAL_H
#define EDGE_COMMIT_INTERNAL_H

#include "base/list.h"
#include "edge/commit.h"
#include "edge/edge_conf.h"
#include "edge/out_pool.h"
#include "edge/spool_link.h"

#define commit_MAGIC 0xc0331701u
#define group_MAGIC 0xc0331702u

struct committer {
	struct loop *loop;
	struct directory *directory;
	struct conf *conf;            /* owned reference */
	const struct edge_conf *edge; /* of conf */
	struct out_pool *pool;        /* owned */
	struct spool_link *spool;     /* owned */
	struct store_memory *memory;  /* owned: store_ask.c */
	struct list_node running;
};

enum commit_state {
	CM_STORES, /* the stores have until commit_timeout */
	CM_DOUBT,  /* some may have the message and have not said so: until final_timeout */
	CM_SENDER, /* directory: is the sender one of ours? */
	CM_SPOOL   /* the queue process is asked to make the rest durable */
};

struct commit {
	struct ticket ticket; /* first */
	uint32_t magic;
	enum commit_state state;
	struct committer *owner;
	struct list_node link; /* in committer.running */
	struct transaction *t; /* borrowed */
	struct timer deadline; /* CM_STORES, CM_DOUBT */
	struct group *groups;  /* owned */
	size_t group_count, groups_open;
	struct ticket *ask; /* CM_SENDER, CM_SPOOL */
	bool tell;          /* of refused recipients the sender gets a notification */
	void (*fn)(void *arg);
	void *arg;
};

enum group_state { GR_PLACE, GR_SEND, GR_DONE };

/* The recipients of one store. */
struct group {
	uint32_t magic;
	enum group_state state;
	struct commit *commit;
	const char *store;        /* of the transaction */
	struct out_recipient *to; /* owned, with its addresses */
	struct out_mail mail;
	struct ticket *ask; /* GR_PLACE, GR_SEND */
};

/* The body of a transaction as a source; lives as long as the transaction. */
struct mail_source commit_body(const struct transaction *t);

/* Makes the groups of the local recipients and sets all of them going; each ends on its own from the
 * loop. When the last one has, commit_stores_done() is called. */
void groups_start(struct commit *c);
bool group_in_doubt(const struct group *g);
/* Its recipients without an answer are LATER. Does not call commit_stores_done(). */
void group_give_up(struct group *g);
void group_end(struct group *g); /* frees what it holds */

/* Every group has its end; may end c. */
void commit_stores_done(struct commit *c);

#endif
