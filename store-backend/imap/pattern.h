/* pattern.h - LIST patterns: "*" stands for anything, "%" for anything but the separator. */
#ifndef STORE_IMAP_PATTERN_H
#define STORE_IMAP_PATTERN_H

#include <stdbool.h>

#include "base/span.h"
#include "conf/conf.h"

enum { IMAP_PATTERN_MAX = 1024 };

/* Both in UTF-8; the time is at most the product of their lengths. A pattern longer than IMAP_PATTERN_MAX fits
 * nothing. */
bool imap_pattern_fits(struct span pattern, struct span name);
/* One of them fits. */
bool imap_pattern_fits_any(const struct conf_strings *patterns, struct span name);

#endif
