/* check.h - what postern run shares with postern check. */
#ifndef ADMIN_CHECK_H
#define ADMIN_CHECK_H

#include <jansson.h>

#include "admin/tier.h"

/* Runs -t of every program. A JSON array of error lines, owned by the caller. */
json_t *check_tier(const struct admin_args *a, const struct tier *t);

/* argv of a program: binary, configuration, overrides, NULL. Holds borrowed strings. Returns how many
 * words; argv has room for TOOL_ARGS_MAX. */
size_t check_argv(
    const struct admin_args *a, const struct program *p, const char *binary, const char **argv);

#endif
