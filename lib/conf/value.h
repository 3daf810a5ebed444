/* value.h - inside of lib/conf: one option's text to its field and back. */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "conf/arena.h"
#include "conf/conf.h"
#include "conf/tree.h"

struct value_ctx {
	struct conf_source *src;
	struct arena *arena;
	struct conf_diag *d;
	const struct conf_param *param;
};

/* Sets *field (of the row's C type) from the values written. False: errors are in c->d. */
bool value_set(struct value_ctx *c, const struct conf_value *values, void *field);
/* Sets *field from the row's default, which is not NULL. */
bool value_set_default(struct value_ctx *c, struct conf_pos at, void *field);
bool value_is_list(const struct conf_param *p);
size_t value_size(const struct conf_param *p); /* of one item */

/* Every list struct is a pointer and a count. */
struct any_list {
	void *v;
	size_t n;
};

/* Appends the effective value so that it reads back the same; "" when there is none. Literal secrets
 * are replaced by (hidden). */
void value_put(const struct conf_param *p, const void *field, struct buf *out);
bool value_is_hidden(const struct conf_param *p, const void *field);

/* "a number from 1 to 10", "yes or no": for errors and the reference. */
void value_describe(const struct conf_param *p, struct buf *out);

#endif
