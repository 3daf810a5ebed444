/* alias_file.h - aliases of the site in a file, read whole and again when it changes (aliases(5)).
 *
 *	# a comment
 *	sales: anna, bert@example.org,
 *	    carl+orders@example.org
 *	info@example.net: sales@example.org
 *	@example.com: anna
 *
 * A name without a domain is one of default_domain; "@domain" is whoever in it is nobody else. Targets are
 * addresses: commands, files and :include: are refused. A line that begins with a space goes on with the one
 * before it. At most ALIASES_MAX names with ALIAS_TARGETS_MAX targets each. */
#ifndef DIRECTORY_ALIAS_FILE_H
#define DIRECTORY_ALIAS_FILE_H

#include "base/map.h"
#include "directory/directory_conf.h"
#include "directory/text_list.h"
#include "net/loop.h"

enum { ALIASES_MAX = 1000 * 1000, ALIAS_TARGETS_MAX = 1000 };

/* ---- the text: pure ---- */

struct alias_table;

/* NULL: *line_out and *why_out (a constant) say what is wrong. */
struct alias_table *alias_table_parse(
    struct span text, const char *default_domain, size_t *line_out, const char **why_out);
void alias_table_free(struct alias_table **t);
/* key: "name@domain" or "@domain", lower case. Empty: there is no such alias. Lives as long as the table. */
struct text_list alias_table_get(const struct alias_table *t, struct span key);
size_t alias_table_count(const struct alias_table *t);

/* ---- the file ---- */

struct alias_file;

enum alias_answer { ALIAS_FOUND, ALIAS_ABSENT, ALIAS_UNKNOWN /* the file could not be read yet */ };

/* NULL when the option alias_file is empty. conf is borrowed and lives longer. */
struct alias_file *alias_file_new(struct loop *l, const struct directory_conf *conf);
void alias_file_free(struct alias_file **f);
/* f may be NULL: ABSENT. The list lives until the loop goes on. */
enum alias_answer alias_file_get(
    const struct alias_file *f, struct span key, struct text_list *out);

#endif
