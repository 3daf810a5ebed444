/* tree.h - inside of lib/conf: statements as written, includes followed, no meaning yet. */
#ifndef CONF_TREE_H
#define CONF_TREE_H

#include "conf/arena.h"
#include "conf/conf.h"

enum { CONF_STATEMENTS_MAX = 100000 };

struct conf_value {
	struct span text; /* NUL behind it */
	struct conf_pos pos;
	struct conf_value *next;
};

/* `name value, value;` or `name title { ... }`. A statement with a syntax error stays in the tree as
 * `broken`, so that its absence is not reported too. */
enum node_kind { NODE_OPTION, NODE_BLOCK, NODE_BROKEN };

struct node {
	enum node_kind kind;
	struct span name; /* NUL behind it */
	struct conf_pos pos;
	struct conf_value *values; /* of an option, in order */
	struct conf_value *title;  /* of a block, or NULL */
	struct node *children;     /* of a block, in order */
	struct node **tail;        /* where the next child goes */
	struct node *next;
};

/* The file of src as a block without a name. Syntax errors go to d. */
struct node *tree_read(struct conf_source *src, struct arena *a, struct conf_diag *d);

/* Puts the value of "path.option=value" into the tree: replaces what the file says. path names
 * blocks by name, by title, or by both. */
void tree_override(struct node *root, const char *text, struct arena *a, struct conf_diag *d);

#endif
