/* pattern.c - does a mailbox name fit a LIST pattern? See pattern.h. Owns nothing. */
#include "store-backend/imap/pattern.h"

#include <string.h>

/* at[i]: the first i bytes of the pattern can stand for what was read of the name. */
struct places {
	bool at[IMAP_PATTERN_MAX + 1];
};

static bool is_wild(char c)
{
	return c == '*' || c == '%';
}

/* A wildcard may stand for nothing. */
static void pass_wildcards(struct places *p, struct span pattern)
{
	for (size_t i = 0; i < pattern.n; i++)
		p->at[i + 1] = p->at[i + 1] || (p->at[i] && is_wild(pattern.p[i]));
}

/* One more byte of the name; false: no place is left. From the end, so that no place moves twice. */
static bool move(struct places *p, struct span pattern, char c)
{
	bool any = false;
	for (size_t i = pattern.n + 1; i-- > 0;) {
		bool stays = i < pattern.n && p->at[i] &&
			     (pattern.p[i] == '*' || (pattern.p[i] == '%' && c != '/'));
		bool comes =
		    i > 0 && p->at[i - 1] && pattern.p[i - 1] == c && !is_wild(pattern.p[i - 1]);
		p->at[i] = stays || comes;
		any = any || p->at[i];
	}
	if (any)
		pass_wildcards(p, pattern);
	return any;
}

bool imap_pattern_fits(struct span pattern, struct span name)
{
	struct places p;
	if (pattern.n > IMAP_PATTERN_MAX)
		return false;
	memset(p.at, 0, pattern.n + 1);
	p.at[0] = true;
	pass_wildcards(&p, pattern);
	for (size_t i = 0; i < name.n; i++) {
		if (!move(&p, pattern, name.p[i]))
			return false;
	}
	return p.at[pattern.n];
}

bool imap_pattern_fits_any(const struct conf_strings *patterns, struct span name)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (imap_pattern_fits(span_str(patterns->v[i]), name))
			return true;
	return false;
}
