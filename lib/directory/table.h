/* table.h - the tables of an operator: is this client, name or address in one, and with which value?
 *
 * A table is a text, an LMDB file or a search of LDAP servers (block `table`). An answer is found, absent, or
 * "could not look", which must never be taken for absent: a table that cannot be read decides nothing. */
#ifndef DIRECTORY_TABLE_H
#define DIRECTORY_TABLE_H

#include "base/span.h"
#include "conf/conf.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"

#define CONF_BLOCK table
#define CONF_DEF "directory/table.params.def"
#include "conf/params_struct.h"

#include "directory/table_keys.h"
#include "directory/table_text.h" /* TABLE_VALUE_MAX */

enum { TABLES_MAX = 32 };

struct tables;

enum table_answer { TABLE_FOUND, TABLE_ABSENT, TABLE_UNKNOWN };

/* All blocks of one configuration. conf is referenced; blocks point into it. */
struct tables_opts {
	struct loop *loop;
	struct dns *dns;
	const struct conf *conf;
	struct table_conf *const *blocks;
	size_t n;
};

struct tables *tables_new(const struct tables_opts *o);
/* The tables of another configuration in their place; who waits gets the answer of the one that was asked. */
void tables_reload(struct tables *t, const struct tables_opts *o);
void tables_free(struct tables **t); /* every ticket must be gone */

struct table_found {
	enum table_answer answer;
	struct span key, value; /* FOUND: of several keys the one that is there */
	const char *why;        /* UNKNOWN: a constant */
};

/* What of a table of this name is there for it: the keys of table_keys_of(), one after the other. found is valid
 * during the callback. Questions about one key of an LDAP table that are under way are one. */
struct table_question {
	const char *table;
	enum table_use use;
	struct span what; /* copied */
};
typedef void table_fn(void *arg, const struct table_found *found);
struct ticket *tables_find(
    struct tables *t, const struct table_question *q, table_fn *fn, void *arg);

/* For a program's conf_schema.check: what no single row can see. */
void table_check(const struct tables_opts *o, struct conf_diag *d);
bool table_is_named(struct table_conf *const *blocks, size_t n, const char *name);

#endif
