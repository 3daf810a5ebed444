/* target.h - what is an address that mail is for? A user, a group, an alias of others, nobody, or not ours.
 *
 * Beside directory_find(), which knows users only: here the domain is looked at first (is it ours, is it
 * another name of a domain, what is its status), then the alias file, the address as it is, the address
 * without its "+detail", and the domain's catch-all. */
#ifndef DIRECTORY_TARGET_H
#define DIRECTORY_TARGET_H

#include "directory/directory.h"
#include "directory/group.h"

enum target_kind {
	TARGET_USER,
	TARGET_GROUP,
	TARGET_OTHERS,   /* an alias, or a catch-all: the addresses in `others` */
	TARGET_ELSEWHERE /* with ABSENT: its domain is not ours */
};

/* Valid during the callback. */
struct target {
	enum target_kind kind;
	const struct account *user; /* its status is the domain's if that is not active */
	const struct group *group;
	struct text_list others;
	enum account_status status; /* GROUP: its own or its domain's; OTHERS: the domain's */
	const char *address; /* as asked for, in the domain that the name stands for; lower case */
	bool renamed;        /* ... which is another one than was asked for */
	bool catch_all;
};

/* ABSENT: nobody, in a domain of ours; t->kind is TARGET_ELSEWHERE when it is none of ours. UNKNOWN: t is
 * NULL, nothing may be concluded. */
typedef void directory_target_fn(void *arg, enum directory_status status, const struct target *t);
struct ticket *directory_target(
    struct directory *d, struct span address, directory_target_fn *fn, void *arg);

const struct group *directory_group_ref(const struct group *g);
void directory_group_unref(const struct group **g);

/* Addresses behind a member's DN (its own), or an LDAP URL (of all entries it means). ABSENT: there is no such
 * entry, or it has no address. UNKNOWN also: outside group_bases, no such URL, too many; then it is logged. */
typedef void directory_members_fn(
    void *arg, enum directory_status status, struct text_list addresses);
struct ticket *directory_members(
    struct directory *d, struct span dn_or_url, directory_members_fn *fn, void *arg);

#endif
