/* nearest.h - "did you mean": the known name that looks most like an unknown one. */
#ifndef CONF_NEAREST_H
#define CONF_NEAREST_H

#include <stddef.h>

#include "base/span.h"

/* Feed every known name, then read best: NULL when none is near enough to be worth saying. */
struct nearest {
	struct span wanted;
	const char *best;
	size_t distance;
};
void nearest_init(struct nearest *n, struct span wanted);
void nearest_try(struct nearest *n, const char *known);

#endif
