/* directory.h - who is this, where does their mail live, and is that their secret?
 *
 * Every question is a ticket with three kinds of answer: found, absent, could not look. "Could not
 * look" must never be told to a peer as "unknown user". Answers are cached (positive and negative TTL,
 * one query in flight per key, bounded). Back ends: file (LDIF, reread on change), ldap, static. */
#ifndef DIRECTORY_DIRECTORY_H
#define DIRECTORY_DIRECTORY_H

#include "base/span.h"
#include "conf/conf.h"
#include "directory/account.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"

struct directory;
struct record;

enum directory_status { DIRECTORY_FOUND, DIRECTORY_ABSENT, DIRECTORY_UNKNOWN };

/* The `directory` section of the configuration; conf is referenced. */
extern const struct conf_block directory_block;
/* For a program's conf_schema.check: what no single row of the section can see. */
void directory_check(const struct conf *conf, struct conf_diag *d);
/* Registers the metrics: once, before the master forks. */
void directory_prepare(void);

struct directory *directory_new(struct loop *l, struct dns *dns, const struct conf *conf);
void directory_reload(struct directory *d, const struct conf *fresh);
void directory_free(struct directory **d); /* tickets are cancelled */

/* By login name or mail address ("user", "user@domain"; sub-address "+detail" is stripped and not
 * part of the answer). Names without domain get default_domain. account is valid during the
 * callback and NULL unless found; directory_account_ref() keeps it. */
typedef void directory_find_fn(
    void *arg, enum directory_status status, const struct account *account);
struct ticket *directory_find(
    struct directory *d, struct span address, directory_find_fn *fn, void *arg);
const struct account *directory_account_ref(const struct account *a);
void directory_account_unref(const struct account **a);

/* An answer that is known by the time of the question: found, and then until directory_answer_end(). */
struct directory_answer {
	enum directory_status status;
	struct record *record; /* owned reference; NULL unless found */
};
const struct account *directory_answer_account(
    const struct directory_answer *a); /* NULL unless found */
const struct store_place *directory_answer_place(const struct directory_answer *a); /* the same */
void directory_answer_end(struct directory_answer *a); /* fine when nothing was found */

/* The same for who can go on at once: NULL, the answer is *now_out, which is the caller's to end, and fn is not
 * called. Else as directory_find(). */
struct ticket *directory_find_now(struct directory *d, struct span address, directory_find_fn *fn,
    void *arg, struct directory_answer *now_out);

/* Does this directory answer for the domain (it holds a user or a domain entry of it)? Mail for a
 * domain that is not local is relayed only for those who may. */
typedef void directory_domain_fn(void *arg, enum directory_status status);
struct ticket *directory_domain(
    struct directory *d, struct span domain, directory_domain_fn *fn, void *arg);

/* Is `secret` the account's password? FOUND: yes; ABSENT: no; UNKNOWN: could not ask (always so for an
 * account with verify_at_store). By bind, or by comparing userPassword hashes. A secret that is empty,
 * longer than 512 bytes or has a NUL in it is always wrong. Copies of the secret are wiped. account is
 * one that directory_find() gave; the ticket keeps it. */
typedef void directory_verify_fn(void *arg, enum directory_status status);
struct ticket *directory_verify(struct directory *d, const struct account *account,
    struct span secret, directory_verify_fn *fn, void *arg);

/* The same for who can go on at once: NULL, and the answer is *now_out. */
struct directory_secret {
	const struct account *account;
	struct span secret;
};
struct ticket *directory_verify_now(struct directory *d, const struct directory_secret *what,
    directory_verify_fn *fn, void *arg, enum directory_status *now_out);

/* May a password be compared, and so be kept, in plain text? Only in a file of our own. */
bool directory_takes_plain(const struct directory *d);

/* The store behind a mailHost value. Never absent: without an entry the name is the host and the
 * ports are the section's defaults. place is valid during the callback. */
typedef void directory_store_fn(
    void *arg, enum directory_status status, const struct store_place *place);
struct ticket *directory_store(
    struct directory *d, struct span name, directory_store_fn *fn, void *arg);
/* As directory_find_now(). */
struct ticket *directory_store_now(struct directory *d, struct span name, directory_store_fn *fn,
    void *arg, struct directory_answer *now_out);

bool directory_healthy(const struct directory *d);               /* last contact was good */
void directory_forget(struct directory *d, struct span address); /* drop it from the cache */

#endif
