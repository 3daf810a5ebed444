/* operation_link.h - the parts of a link that operation_link.c and watch.c share (nobody else). */
#ifndef STORE_OPERATION_LINK_H
#define STORE_OPERATION_LINK_H

#include "base/list.h"
#include "base/map.h"
#include "store-backend/operation_wire.h"
#include "store-backend/store.h"

#define operation_link_MAGIC 0x0911e4c1u

enum link_state { LINK_DOWN, LINK_DIALING, LINK_GREETING, LINK_UP };

struct operation_link {
	uint32_t magic;
	struct loop *loop;
	char *path; /* owned */
	uint64_t deadline_ms;
	size_t waiting_max, waiting_bytes_max;
	void (*ready_fn)(void *arg, uint64_t epoch);
	void *arg;

	enum link_state state;
	struct ticket *dialing; /* LINK_DIALING */
	struct stream *stream;  /* owned: LINK_GREETING, LINK_UP */
	struct timer redial;    /* LINK_DOWN */
	uint64_t redial_ms;

	uint64_t client; /* random: who we are to the committer, as long as we live */
	uint64_t next_sequence;
	struct list_node waiting; /* requests by sequence */
	struct list_node refused; /* over a bound: answered LATER from the loop, never sent */
	size_t waiting_n, waiting_bytes;
	struct request *sending; /* its frame is half in the stream, or NULL */
	size_t sent_bytes;       /* of its message */
	struct buf behind;       /* frames that wait until `sending` is through */

	struct map *watched; /* mailbox id (8 bytes) -> struct watched */
};

void operation_link_pump(struct operation_link *k);
void operation_link_say(struct operation_link *k, enum frame_kind kind, uint64_t value);

/* watch.c */
void link_watches_init(struct operation_link *k);
void link_watches_end(struct operation_link *k);
void watch_again(struct operation_link *k); /* the committer is new: tell it all */
void watch_tell(struct operation_link *k, const struct mailbox_news *news);

#endif
