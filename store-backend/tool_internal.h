/* tool_internal.h - shared by tool*.c (nobody else). */
#ifndef STORE_TOOL_INTERNAL_H
#define STORE_TOOL_INTERNAL_H

#include "base/buf.h"
#include "store-backend/index.h"
#include "store-backend/store_conf.h"

/* sysexits: usage; a fault was found or it could not be done. */
enum { TOOL_USAGE = 64, TOOL_FAILED = 65, TOOL_WORDS_MAX = 3 };

struct tool_partition {
	struct index *index;
	struct commitlog_reader *reader;
};

/* For reading. False: it was told why not. */
bool tool_open(const struct store_partition_conf *pc, struct tool_partition *out);
void tool_close(struct tool_partition *p);

/* Says why errno has stopped the work on that file. Always false. */
bool tool_fail(const char *path);

/* A user as a word of the command line: the address, or "hex:" and its bytes as hex digits, which no shell on
 * the way acts upon. False: it is no user's name. */
bool tool_user(const char *word, struct buf *out);

/* The partition that has the user, or is to get it; NULL: there is none, or none can be read. */
const struct store_partition_conf *tool_partition_of(const struct store_conf *s, struct span user);

/* The number of a move, in hex digits: not 0, nor the highest, which is none. False: it is not one. */
bool tool_move(const char *word, uint64_t *out);

/* tool_serve.c, tool_pull.c: a user moves; words are the user, and for pull perhaps "live" or "final", and then the move. */
int tool_serve(const struct conf *c, const char *const *words);
int tool_pull(const struct conf *c, const char *const *words);
/* tool_expire.c: words are "dry-run". */
int tool_expire(const struct conf *c, const char *const *words);
/* tool_domains.c: words are perhaps a domain. */
int tool_domains(const struct conf *c, const char *const *words);
/* tool_mend.c: is it a user, and no partition? Then words are the user and perhaps a folder. */
bool tool_names_user(const char *word);
int tool_check_user(const struct conf *c, const char *const *words);
int tool_mend_user(const struct conf *c, const char *const *words);
/* tool_stay.c: words are the user and perhaps what the stay is to be, and then the move that says so. */
int tool_stay(const struct conf *c, const char *const *words);

/* tool_import.c: words as for export; changes are asked of the committer. */
int tool_import(const struct conf *c, const char *const *words);

/* tool_export.c: words are the form, the user, the folder. */
int tool_export(const struct conf *c, const char *const *words);

#endif
