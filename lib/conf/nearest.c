/* nearest.c - edit distance with adjacent swaps over names of bounded length. */
#include <stdbool.h>
#include <string.h>

#include "conf/nearest.h"

enum { NAME_MAX_LEN = 48 };

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;
	return m < c ? m : c;
}

/* Optimal string alignment: insert, delete, replace, or swap of neighbours cost one each. */
static size_t distance(struct span a, struct span b)
{
	size_t rows[3][NAME_MAX_LEN + 1];
	for (size_t j = 0; j <= b.n; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t *now = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
		now[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			bool same = ascii_lower(a.p[i - 1]) == ascii_lower(b.p[j - 1]);
			now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + !same);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				now[j] = min3(now[j], up2[j - 2] + 1, now[j]);
		}
	}
	return rows[a.n % 3][b.n];
}

void nearest_init(struct nearest *n, struct span wanted)
{
	/* A third of the letters may be wrong, one always. */
	*n = (struct nearest){ wanted, NULL, wanted.n / 3 + 2 };
}

void nearest_try(struct nearest *n, const char *known)
{
	struct span k = span_str(known);
	if (k.n > NAME_MAX_LEN || n->wanted.n > NAME_MAX_LEN || n->wanted.n == 0)
		return;
	size_t d = distance(n->wanted, k);
	if (d < n->distance) {
		n->distance = d;
		n->best = known;
	}
}
