/* tool.h - postern-store -c FILE WORD...: looks after partitions and ends. `postern store` runs it. */
#ifndef STORE_TOOL_H
#define STORE_TOOL_H

#include <stddef.h>

#include "conf/conf.h"

/* check | reconstruct PARTITION [skip-damaged] | export maildir|mbox USER FOLDER. Returns an exit status. */
int store_tool(const struct conf *c, const char *const *words, size_t n);

#endif
