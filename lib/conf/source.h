/* source.h - inside of lib/conf: reading through a source, which remembers what was read.
 *
 * Results stay valid as long as the source. A source that was unpacked answers only what its maker
 * had asked. */
#ifndef CONF_SOURCE_H
#define CONF_SOURCE_H

#include "conf/conf.h"

const char *source_path(const struct conf_source *s); /* of the main file, as it was given */
/* path made absolute: relative to the folder of base_file, that to the working directory. In arena. */
struct arena;
const char *source_resolve(
    const struct conf_source *s, struct arena *a, const char *base_file, struct span path);

/* A file's bytes. False: *why_out says why not ("No such file or directory"). */
bool source_read(struct conf_source *s, const char *path, struct span *out, const char **why_out);
bool source_env(struct conf_source *s, const char *name, struct span *out);
/* Sorted paths that match, each followed by NUL in *out; at most CONF_INCLUDE_MAX. */
bool source_glob(
    struct conf_source *s, const char *pattern, struct span *out, const char **why_out);

#endif
