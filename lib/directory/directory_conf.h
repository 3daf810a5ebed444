/* directory_conf.h - the `directory` section as a struct, and the facts that no single row can see. */
#ifndef DIRECTORY_DIRECTORY_CONF_H
#define DIRECTORY_DIRECTORY_CONF_H

#include <stdbool.h>

#include "conf/conf.h"

#define CONF_BLOCK directory
#define CONF_DEF "directory/directory.params.def"
#include "conf/params_struct.h"

/* Indexes of the words of ENUM rows. */
enum { BACKEND_FILE, BACKEND_STATIC, BACKEND_LDAP };
enum { VERIFY_BIND, VERIFY_COMPARE };

/* Do both sections say the same? A reload that changes nothing here keeps cache and connections. */
bool directory_conf_equal(const struct directory_conf *a, const struct directory_conf *b);

/* Is the domain (lower case) in the option `domains`, or the default domain? */
bool directory_conf_lists(const struct directory_conf *c, struct span domain);

#endif
