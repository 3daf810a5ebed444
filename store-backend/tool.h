/* tool.h - postern-store -c FILE WORD...: looks after partitions and ends. `postern store` runs it. */
#ifndef STORE_TOOL_H
#define STORE_TOOL_H

#include <stddef.h>

#include "conf/conf.h"

/* check [USER [FOLDER]] | reconstruct PARTITION [skip-damaged] | reconstruct USER [FOLDER] | export|import maildir|mbox
 * USER FOLDER, and those of a move. Returns an exit status. */
int store_tool(const struct conf *c, const char *const *words, size_t n);

#endif
