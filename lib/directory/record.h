/* record.h - what the directory holds of a user, a group, a domain or a store: immutable, with a reference count,
 * in one piece of memory. Made from entries, the same for every back end. */
#ifndef DIRECTORY_RECORD_H
#define DIRECTORY_RECORD_H

#include <stdint.h>

#include "directory/account.h"
#include "directory/directory_conf.h"
#include "directory/entry.h"
#include "directory/group.h"

#define record_MAGIC 0xd12ec04du

/* DN: a user or a group, by the name of its entry. LIST: the addresses behind an LDAP URL, by the URL. */
enum record_kind {
	RECORD_USER,
	RECORD_DOMAIN,
	RECORD_STORE,
	RECORD_GROUP,
	RECORD_DN,
	RECORD_LIST,
	RECORD_KINDS
};
enum { RECORD_PASSWORDS_MAX = 8, RECORD_PASSWORD_SIZE = 512, RECORD_TEXT_MAX = 16 * 1024 };
/* Of a group, and of the addresses behind a URL. */
enum { RECORD_LONG_TEXT_MAX = 2 * 1024 * 1024, RECORD_LIST_MAX = 20000 };

/* The answer to one question about one key. AWAY: no server could be asked; UNKNOWN: one was, and its
 * answer decides nothing (two entries, an error, an unusable entry). WAS_ABSENT comes from the cache
 * only: away, but there was no such domain or store when it was last asked for. */
enum answer { ANSWER_FOUND, ANSWER_ABSENT, ANSWER_UNKNOWN, ANSWER_AWAY, ANSWER_WAS_ABSENT };

struct record {
	uint32_t magic;
	unsigned refs;
	enum record_kind kind;
	uint64_t revision;      /* keyed hash of the entry it was made from */
	struct account account; /* RECORD_USER; status is the user's alone */
	const char *passwords[RECORD_PASSWORDS_MAX];
	size_t password_n;
	enum account_status domain_status;                 /* RECORD_DOMAIN */
	int64_t domain_quota_bytes, domain_quota_messages; /* RECORD_DOMAIN: as of account */
	const char *domain_services; /* RECORD_DOMAIN: who may use what; NULL: all */
	const char *canonical;       /* RECORD_DOMAIN: another name of this domain, or NULL */
	struct text_list filters;    /* RECORD_DOMAIN: what all of its users want */
	struct text_list catch_all;  /* RECORD_DOMAIN: who gets the mail for nobody */
	struct group group;          /* RECORD_GROUP */
	struct text_list list;       /* RECORD_LIST */
	struct store_place place;    /* RECORD_STORE */
	char *text;                  /* what the pointers above point to: right behind the struct */
	size_t text_n;
};

/* NULL: the entry cannot be used, *why_out says why (a constant). */
struct record *record_from_user(
    const struct directory_conf *c, const struct entry *e, const char **why_out);
struct record *record_from_domain(
    const struct directory_conf *c, const struct entry *e, const char **why_out);
struct record *record_from_store(
    const struct directory_conf *c, const struct entry *e, const char **why_out);
struct record *record_from_group(
    const struct directory_conf *c, const struct entry *e, const char **why_out);
/* A user or a group, whichever the entry is; NULL with *why_out NULL: it is neither. */
struct record *record_from_any(
    const struct directory_conf *c, const struct entry *e, const char **why_out);
/* The one of these for the kind, which is not RECORD_LIST. */
struct record *record_from_entry(enum record_kind kind, const struct directory_conf *c,
    const struct entry *e, const char **why_out);
/* Of texts one behind the other, each with its NUL. NULL: they are too long. */
struct record *record_from_list(struct span texts, size_t n);

/* Is the entry one of this kind? Users and stores by the class of the options; domains by the classes
 * domain, inetDomain, mailDomain, organization. */
bool record_is_kind(const struct directory_conf *c, const struct entry *e, enum record_kind kind);

/* Calls fn with each key (lower case) that the entry is found by; a key may come twice. r was made from
 * e. Values that can be no name are left out. */
typedef void record_key_fn(void *arg, struct span key);
void record_each_key(const struct directory_conf *c, const struct entry *e, const struct record *r,
    record_key_fn *fn, void *arg);
bool record_has_key(
    const struct directory_conf *c, const struct entry *e, const struct record *r, struct span key);

/* For names without an entry: a user of the static back end, a domain of an option, a store by its name. */
struct record *record_static_user(struct span key, struct span host);
struct record *record_plain_domain(void);
struct record *record_default_store(const struct directory_conf *c, struct span name);

/* The same user with another status. */
struct record *record_with_status(const struct record *r, enum account_status status);
/* The same user, as one of that domain: with its limits and filters, its filter of services beside the
 * user's, and its status when it is not active. */
struct record *record_in_domain(const struct record *user, const struct record *domain);

struct record *record_ref(const struct record *r);
void record_unref(struct record **r); /* fine on NULL */
struct record *record_of_account(const struct account *a);

#endif
