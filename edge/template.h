/* template.h - words of an option with {names} in them: "{home}/Maildir", "-d", "{local}".
 *
 * What stands for a name comes from outside. Nothing of it ever reaches a shell; beyond that only plain characters
 * (letters, digits and ._-+=@) are let through, a word never begins with "-" because of it, and in a path it is one
 * name of a file: no "/", and no "." in front. */
#ifndef EDGE_TEMPLATE_H
#define EDGE_TEMPLATE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum template_name {
	TEMPLATE_USER,
	TEMPLATE_LOCAL,
	TEMPLATE_DOMAIN,
	TEMPLATE_DETAIL,
	TEMPLATE_ADDRESS,
	TEMPLATE_SENDER,
	TEMPLATE_ID,
	TEMPLATE_HOME, /* as it is: the system says it */
	TEMPLATE_NAMES
};

struct template_facts {
	struct span v[TEMPLATE_NAMES];
};

enum template_use { TEMPLATE_ARGUMENT, TEMPLATE_PATH };

/* The first {name} that there is not, or a brace that is not closed; NULL: the template is good. */
const char *template_mistake(const char *text);
/* Appends it. False: a value must not stand there, or it becomes too long for out. */
bool template_put(
    struct buf *out, const char *text, const struct template_facts *f, enum template_use use);
/* Has it this name in it? */
bool template_names(const char *text, enum template_name name);

/* May a program be given this name of a recipient? Empty: yes. */
bool template_is_plain(struct span value);
/* Appends a name with _ in the place of every other character. */
bool template_put_plain(struct buf *out, struct span value);

#endif
