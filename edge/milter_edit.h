/* milter_edit.h - a message while filters look at it: its fields as they see them, and what they change.
 *
 * A filter's changes are noted (edit_note) and become part of the message only when it has let the message
 * pass (edit_accept), so that the next filter sees them; a filter that fails leaves nothing behind
 * (edit_drop). edit_write() makes what commit will read. Fields that nobody changed keep their bytes
 * exactly: a signature over them stays good. */
#ifndef EDGE_MILTER_EDIT_H
#define EDGE_MILTER_EDIT_H

#include "proto/milter_wire.h"

#include "edge/transaction.h"

enum {
	EDIT_CHANGES_MAX = 2000,         /* of one filter */
	EDIT_BYTES_MAX = 1024 * 1024,    /* of one filter, the new body not counted */
	EDIT_ADDED_MAX = RECIPIENTS_MAX, /* recipients added by all filters */
};

struct edit;

struct edit_opts {
	size_t shown;      /* topmost fields that filters see, above those that are */
	size_t ours;       /* fields that filters neither see nor count among equal names */
	uint64_t size_max; /* of a new body */
	const char *temp_dir;
};

/* t: borrowed for the edit's life; its body is whole. ERR_TOO_MANY: the header section is too long to be
 * shown to a filter; else what the body's reading says. */
err_t edit_new(struct transaction *t, const struct edit_opts *opts, struct edit **out);
void edit_free(struct edit **e);

/* ---- what a filter sees ------------------------------------------------------------------------ */

struct edit_field {
	struct span name, value; /* value: raw, behind the colon, without the final line end */
};
size_t edit_fields(const struct edit *e);
/* False: field i is not shown. Spans live until edit_accept(). */
bool edit_field(const struct edit *e, size_t i, struct edit_field *out);
/* Up to n bytes of the text behind the header section; as body_read(). */
struct span edit_text(struct edit *e, uint64_t at, size_t n, err_t *err_out);
uint64_t edit_text_size(const struct edit *e);

/* ---- what it does ------------------------------------------------------------------------------ */

/* leading_space: values come with the space behind the colon. An error means that the filter broke the
 * protocol or a limit. */
err_t edit_note(struct edit *e, char code, const struct milter_change *c, bool leading_space);
/* An error (no room for the new text): nothing of it has become part of the message. */
err_t edit_accept(struct edit *e);
void edit_drop(struct edit *e);
/* A field of our own, at the end of the header section (at once). */
err_t edit_add_field(struct edit *e, const char *name, struct span value);
void edit_remove_fields(struct edit *e, const char *name);
/* The whole header section, ours included, at once. ERR_SYNTAX: it is none. */
err_t edit_replace_fields(struct edit *e, struct span section);

/* ---- what came of it --------------------------------------------------------------------------- */

/* Puts the changed message into the transaction's body. Called once, after the last filter. */
err_t edit_write(struct edit *e);
/* Addresses that filters added, in canonical form, not yet looked up. */
size_t edit_added(const struct edit *e, const char *const **out);
/* The reason, which is the caller's now; NULL: the filter has not asked for it. */
char *edit_take_quarantine(struct edit *e);

#endif
