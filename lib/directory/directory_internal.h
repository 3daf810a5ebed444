/* directory_internal.h - single look-ups, for those in this folder who make answers out of several. */
#ifndef DIRECTORY_DIRECTORY_INTERNAL_H
#define DIRECTORY_DIRECTORY_INTERNAL_H

#include "directory/directory.h"
#include "directory/record.h"

struct alias_file;

/* One look-up by a key as name.h makes it (or a URL): no detail is stripped, no domain is asked about. r is
 * valid during the callback, NULL unless found. */
typedef void directory_look_fn(void *arg, enum directory_status status, const struct record *r);
struct ticket *directory_look(
    struct directory *d, enum record_kind kind, struct span key, directory_look_fn *fn, void *arg);

/* In force now; for this call only. */
const struct directory_conf *directory_settings(const struct directory *d);
const struct alias_file *directory_aliases(const struct directory *d);

#endif
