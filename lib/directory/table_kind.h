/* table_kind.h - what a kind of table can do. One that knows its answers at once has look(); one that must ask has
 * fetch() too, and look() says whether the answer is known. */
#ifndef DIRECTORY_TABLE_KIND_H
#define DIRECTORY_TABLE_KIND_H

#include "proto/lmdb.h"

#include "directory/backend.h"
#include "directory/table.h"

struct table_env {
	struct loop *loop;
	struct dns *dns;
	const struct table_conf *conf; /* these live as long as the table */
	const struct directory_conf
	    *directory; /* what stands there counts where the block says nothing */
};

struct table_kind {
	void *(*open)(
	    const struct table_env *env); /* in any case: what cannot work answers UNKNOWN */
	void (*close)(void *table);       /* nobody waits */
	/* False: it must be asked. key: not empty; value is added to out; why is a constant when it is UNKNOWN. */
	bool (*look)(void *table, struct span key, struct buf *out, struct table_found *found);
	/* A record list whose first text is the value. */
	struct ticket *(*fetch)(void *table, struct span key, answer_fn *fn, void *arg);
};

extern const struct table_kind table_file_kind, table_lmdb_kind, table_ldap_kind;

/* The settings that an LDAP table's connections have, into out. False: there is no server, or no base. */
bool table_ldap_settings(
    const struct table_conf *c, const struct directory_conf *d, struct directory_conf *out);
bool table_ldap_filter_ok(const struct table_conf *c);

/* The key in the LMDB file of a descriptor, as Postfix looks for it: with or without a NUL at its end. FOUND: its value, without
 * its NUL, is added to out, which takes TABLE_VALUE_MAX + 1 bytes. BROKEN: *why_out, a constant. */
enum lmdb_answer table_lmdb_find(int fd, struct span key, struct buf *out, const char **why_out);
/* Its newest state. False: it is no such file. */
bool table_lmdb_state(int fd, struct lmdb_state *out, const char **why_out);

#endif
