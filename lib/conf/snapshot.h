/* snapshot.h - inside of lib/conf: what a loaded configuration consists of. */
#ifndef CONF_SNAPSHOT_H
#define CONF_SNAPSHOT_H

#include "conf/arena.h"
#include "conf/conf.h"

/* A block that was filled: the struct programs see, and where each option came from. */
struct filled {
	const struct conf_block *block;
	const char *name;            /* as written: section or field */
	void *data;                  /* struct KIND_conf */
	const struct conf_pos *from; /* per row; file NULL: the default */
	bool present;                /* a section that the file has */
	bool hollow;                 /* lacks a value that has no default: an error is told */
	struct filled *children;     /* nested blocks, in order */
	struct filled **tail;
	struct filled *next;
};

struct conf {
	unsigned refs;
	struct arena *arena;              /* owned: everything below, and this struct's strings */
	const struct conf_schema *schema; /* borrowed: static */
	struct filled *root;
	struct filled *sections; /* in the order of the schema */
	const char **others;     /* names of foreign sections the file has */
	size_t other_count;
	uint64_t revision;
};

/* The effective options as text, without origins, with a checksum for each FILE: hashed for
 * conf_revision(). */
void snapshot_put_effective(const struct conf *c, struct buf *out);

static inline void *filled_field(const struct filled *f, const struct conf_param *p)
{
	return (char *)f->data + p->offset;
}

#endif
