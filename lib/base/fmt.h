/* fmt.h - text for people and machines out of hostile bytes: escaping and units. */
#ifndef BASE_FMT_H
#define BASE_FMT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* One log value: as it is when it is plain (printable ASCII, no space, quote, = or backslash, not
 * empty), else in double quotes with \" \\ \n \r \t and \xHH; cut to max input bytes with "...". */
bool fmt_log_value(struct buf *out, struct span v, size_t max);

/* A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD. */
bool fmt_json_string(struct buf *out, struct span v);

/* Bytes that may stand in a line sent to a peer: CR, LF, NUL and other controls become '?', at
 * most max bytes. For words of a helper or a store that are passed on. */
bool fmt_line_text(struct buf *out, struct span v, size_t max);

bool fmt_hex(struct buf *out, struct span raw);

/* "1h30m", "250ms", "0s" / "64k", "10M": the forms that lib/conf reads. */
bool fmt_duration(struct buf *out, uint64_t ms);
bool fmt_size(struct buf *out, uint64_t bytes);

#endif
