/* tool_internal.h - shared by tool.c and tool_export.c (nobody else). */
#ifndef STORE_TOOL_INTERNAL_H
#define STORE_TOOL_INTERNAL_H

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

/* tool_export.c: words are the form, the user, the folder. */
int tool_export(const struct conf *c, const char *const *words);

#endif
