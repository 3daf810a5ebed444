/* imap_utf7.h - modified UTF-7 of mailbox names (RFC 3501 section 5.1.3) to and from UTF-8.
 *
 * The two forms map one to one: what decodes also encodes back to the same bytes, so either may be
 * the key of a mailbox. */
#ifndef PROTO_IMAP_UTF7_H
#define PROTO_IMAP_UTF7_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

/* Appends UTF-8. False: not canonical modified UTF-7 (bytes outside 0x20-0x7e, bad base64, superfluous
 * shifts, lone surrogates), or out is full; out may then hold a part. */
bool imap_utf7_decode(struct span name, struct buf *out);
/* Appends modified UTF-7. False: not UTF-8, or a control character in it, or out is full. */
bool imap_utf7_encode(struct span utf8, struct buf *out);

#endif
