/* base64.h - RFC 4648 section 4, strict: no white space, padding required and canonical. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

bool base64_put(struct buf *out, struct span raw); /* false: out is full */
/* Appends the decoded bytes. False: not strict base64, or out is full; out may then hold a part. */
bool base64_get(struct span text, struct buf *out);
/* What a digit of the alphabet stands for; -1: it is none. */
int base64_digit(char c);

#endif
