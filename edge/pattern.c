/* pattern.c - see pattern.h. Owns nothing. */
#include "edge/pattern.h"

bool pattern_means(const char *pattern, struct span address)
{
	struct span p = span_str(pattern);
	size_t at = span_rfind(address, '@');
	if (span_find(p, '@') != SIZE_MAX)
		return span_ieq(p, address);
	struct span domain = at == SIZE_MAX ? SPAN_NONE : span_from(address, at + 1);
	return p.n > 0 && p.p[0] == '.' ? domain.n > p.n && span_iends(domain, p)
					: span_ieq(p, domain);
}
