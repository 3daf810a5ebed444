/* pattern.h - addresses as options name them: "user@example.org", "example.org", ".example.org" (all domains below it). */
#ifndef EDGE_PATTERN_H
#define EDGE_PATTERN_H

#include <stdbool.h>

#include "base/span.h"

bool pattern_means(const char *pattern, struct span address);

#endif
