/* utf8_addr.h - addresses in UTF-8 as ORCPT and reports carry them (RFC 6533 section 3): as they are, or with what may not
 * stand there as "\x{HEX}". */
#ifndef PROTO_UTF8_ADDR_H
#define PROTO_UTF8_ADDR_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

/* Decodes utf-8-addr-xtext, with raw_ok utf-8-addr-unitext too. Appends to out. False: neither, a control character (which no
 * address has), not UTF-8, or out is full. */
bool utf8_addr_get(struct span text, bool raw_ok, struct buf *out);

/* utf-8-addr-xtext of an address in UTF-8: ASCII. False: out is full. What is not UTF-8 becomes '?'. */
bool utf8_addr_put(struct buf *out, struct span address);

#endif
