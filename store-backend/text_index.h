/* text_index.h - which messages of a mailbox may have a text in them: an SQLite file (FTS5) for each mailbox in which people
 * search much. It spares a SEARCH the reading of messages; what it names is looked through all the same.
 *
 * Everything in it is derived and may be missing: what is above `upto` is not known, which counts as perhaps. A mailbox's id
 * and its uids are never used again, so what is known of a uid stays true; what is about messages that are gone takes room only,
 * until there is more of that than of the rest. Files are never taken away while somebody may use them: one that is damaged gets
 * a mark beside it and is left alone, and the committer's sweep (partition_text.c) removes it.
 *
 * Calls read and write the disk: text_index_look() a few pages, like the index; the writing ones belong on a thread. One object is
 * used by one thread at a time; several processes may read and write one file. */
#ifndef STORE_TEXT_INDEX_H
#define STORE_TEXT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "store-backend/text_grams.h"

struct text_index;

enum { TEXT_WINDOW = 8192, TEXT_INDEX_PATH_SIZE = 1200, TEXT_INDEX_NAME_MAX = 40 };

/* Whose file, in the folder "text" of the partition at `path`. */
struct text_index_key {
	const char *path;
	uint64_t mailbox;
	uint32_t uidvalidity;
};

/* NULL: *err_out ERR_NOT_FOUND (there is none, or it is marked), ERR_CORRUPT (mark it), ERR_BUSY, ERR_NO_SPACE, ERR_IO.
 * writing: it is made when it is missing. */
struct text_index *text_index_open(const struct text_index_key *key, bool writing, err_t *err_out);
void text_index_close(struct text_index **x); /* what was not committed is forgotten */
/* It is damaged: nobody opens it from now on. */
void text_index_mark(const struct text_index_key *key);

/* ---- reading ----------------------------------------------------------------------------------- */

/* What is known of the uids first .. first + TEXT_WINDOW - 1. */
struct text_window {
	uint32_t first, upto; /* above upto nothing is */
	uint8_t may[TEXT_WINDOW / 8];
};
/* text: folded, of at least TEXT_GRAM octets. ERR_CORRUPT: mark it. */
err_t text_index_look(
    struct text_index *x, struct span text, uint32_t first, struct text_window *out);
bool text_window_may(const struct text_window *w, uint32_t uid); /* of the window */

/* ---- writing ----------------------------------------------------------------------------------- */

/* A transaction. live: messages that are in the mailbox now: where most of the file is about others, it begins anew.
 * *upto_out: up to where it knows all; the next messages are to be added in order of uid. */
err_t text_index_begin(struct text_index *x, uint32_t live, uint32_t *upto_out);
/* grams NULL, or too many of them: nothing is known of the message, it has to be read each time. */
err_t text_index_add(struct text_index *x, uint32_t uid, const struct text_grams *grams);
err_t text_index_commit(struct text_index *x, uint32_t upto);

/* ---- files ------------------------------------------------------------------------------------- */

/* Is it a name of one of our files? */
bool text_index_name(const char *name, uint64_t *mailbox_out, bool *is_mark_out);
void text_index_remove(const char *path, uint64_t mailbox);

#endif
