/* ask.h - a question to the directory on its way to its answer: a small state machine over look-ups (ask.c).
 *
 * Of this folder: directory.c makes asks for its callers. An ask holds a reference to the generation (settings, back
 * end, cache) it began with, so a reload disturbs nobody. */
#ifndef DIRECTORY_ASK_H
#define DIRECTORY_ASK_H

#include "base/buf.h"
#include "base/list.h"
#include "directory/backend.h"
#include "directory/directory.h"
#include "directory/directory_internal.h"
#include "directory/record.h"
#include "net/loop.h"
#include "net/ticket.h"

#define ask_MAGIC 0xd12ea501u

struct generation {
	unsigned refs;
	struct conf *conf; /* owned reference; holds settings */
	const struct directory_conf *settings;
	struct backend *back;       /* owned */
	struct cache *cache;        /* owned; NULL when the back end answers at once */
	struct alias_file *aliases; /* owned; NULL: none are configured */
};

struct directory {
	struct loop *loop;
	struct dns *dns;
	struct generation *now; /* owned reference */
	struct verifier *verifier;
	struct list_node asks;
};

enum ask_state {
	ASK_WHOLE,       /* is the name as typed somebody's? */
	ASK_STRIPPED,    /* is it without its detail? */
	ASK_USER_DOMAIN, /* what is the status of the found user's domain? */
	ASK_DOMAIN,
	ASK_STORE,
	ASK_RAW_USER, /* one look-up as it is, for target.c: in the order of record_kind */
	ASK_RAW_DOMAIN,
	ASK_RAW_STORE,
	ASK_RAW_GROUP,
	ASK_RAW_DN,
	ASK_RAW_LIST,
	ASK_SECRET, /* the verifier works */
	ASK_READY,  /* the answer is known; the deferred call gives it */
	ASK_STATES
};

union ask_fn {
	directory_find_fn *find;
	directory_domain_fn *domain;
	directory_verify_fn *verify;
	directory_store_fn *store;
	directory_look_fn *look;
};

struct ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct directory *d;
	struct generation *gen; /* owned reference */
	struct list_node link;
	enum ask_state state; /* only ask_start() and the on_* handlers write this */
	struct buf key;
	char key_room[64];
	struct ticket *wait; /* owned: cache or verifier */
	struct soon soon;
	bool at_once; /* an answer that is known by now is taken by the asker */
	bool of_secret;
	enum directory_status status;
	struct record *record; /* owned reference: what was found */
	void (*give)(union ask_fn fn, void *arg, enum directory_status, const struct record *);
	union ask_fn fn;
	void *arg;
};

struct ask *ask_new(struct directory *d, void *arg);
void ask_free(struct ask *a);
/* From here on it does what the state demands, as far as it can at once. a->key is set. */
void ask_start(struct ask *a, enum ask_state first);
/* Without, or at the end of all look-ups. */
void ask_finish(struct ask *a, enum directory_status status);
/* What the asker gets, once it has begun. NULL: the answer was known and is in *now_out, the ask is gone. With now_out NULL
 * such an answer is given later, as all others. */
struct ticket *ask_ticket(struct ask *a, struct directory_answer *now_out);

/* directory.c */
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation **g);

#endif
