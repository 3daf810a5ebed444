/* expand_internal.h - the object behind expand.h; for expand.c and expand_group.c only. */
#ifndef EDGE_EXPAND_INTERNAL_H
#define EDGE_EXPAND_INTERNAL_H

#include "base/list.h"
#include "base/map.h"
#include "edge/expand.h"
#include "edge/shape.h"

#define expand_MAGIC 0xe49a4d01u

/* What holds for the members of a group, and of the groups in it. */
struct scope {
	struct list_node link; /* in expand.scopes */
	const struct scope *outer;
	char *sender;        /* owned: mgrpErrorsTo, or NULL: as outer */
	char *fields;        /* owned: mgrpAddHeader of this group and those around it, or NULL */
	struct shape *shape; /* a reference: of this group and those around it, or NULL */
	uint64_t size_max;
	bool aside; /* of moderators who get the mail if the members do not: no more ends */
	struct map *left_out; /* owned: addresses in lower case, or NULL */
};

enum item_kind {
	ITEM_ADDRESS,
	ITEM_MEMBERS, /* a DN or an LDAP URL */
	ITEM_LEFT_OUT /* a DN: its address goes into scope->left_out */
};

struct item {
	struct list_node link; /* in expand.todo */
	enum item_kind kind;
	unsigned depth;
	const struct scope *scope; /* or NULL */
	char *text;                /* owned */
	char *chain; /* owned: addresses that led here, each behind a line feed; "" for the first */
};

struct expand {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct expand_opts opts;
	bool asks_has; /* expand_has(): nothing is delivered */
	struct list_node todo, scopes;
	struct item *now;         /* owned: what is being asked about */
	struct group_copy *group; /* owned: whose rules are being asked */
	struct ticket *wait;      /* owned: directory or rules */
	struct timer deadline;
	struct soon next;
	struct map *seen; /* addresses followed, members found: both in lower case */
	size_t steps;
	struct recipient *members; /* owned */
	size_t n;
	char *via;          /* owned: the address itself, as the directory has it */
	bool held;          /* a member's mailbox is on hold */
	size_t ends, lists; /* who has the mail for the address: lists of their members, and all */
	struct expansion out;
	char *own_user; /* expand_has(): the sender's account, or NULL */
	char *own_address;
	expand_fn *fn;
	expand_has_fn *has_fn;
	void *arg;
};

struct expand *expand_new(const struct expand_opts *opts, void *arg);
/* The end of one that asks whether the sender is in it. */
void expand_give_has(struct expand *x, enum directory_status has);
/* Adds something to follow. depth is one more than that of the item at hand. */
void expand_push(struct expand *x, enum item_kind kind, const char *text, const char *chain,
    const struct scope *scope);
/* The item at hand is refused. For good: a member that is reported, then the next item. The end when it is the
 * address itself, and for now: nothing may be promised by halves. */
void expand_refuse(struct expand *x, unsigned code, const char *enhanced, const char *text);
/* The end of everything: nothing is taken. */
void expand_stop(struct expand *x, unsigned code, const char *enhanced, const char *text);
/* The item at hand is done. */
void expand_go_on(struct expand *x);

/* Is a member, or a list, of this scope one more end? Not behind a list, whose members its sender knows nothing of. */
bool expand_counts(const struct expand *x, const struct scope *s);

/* Somebody elsewhere, or (user not NULL) in a mailbox of ours, or (place not NULL, channel.h) by a channel. NULL: they
 * are a member already. */
struct recipient *expand_take(
    struct expand *x, const char *address, const struct account *user, const char *place);

/* Addresses to follow from the item at hand by way of `address`. */
void expand_push_all(struct expand *x, struct text_list list, const char *address);
bool expand_in_chain(const struct item *it, const char *address);

/* expand_user.c: the item at hand is a user. */
void expand_user(struct expand *x, const struct target *t);
void expand_refuse_by_status(struct expand *x, enum account_status status);
/* The group's members are found in the queue, by a channel of type reprocess; false: there is none, or this is there. */
bool expand_may_put_off(const struct expand *x);
void expand_put_off(struct expand *x, const char *address);
/* A member whose address a channel takes (option addresses): it is one. */
bool expand_by_address(struct expand *x);

/* The item at hand is a group. address: as it was followed. */
void expand_group(struct expand *x, const struct target *t);
void expand_group_end(struct expand *x);

#endif
