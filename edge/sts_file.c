/* sts_file.c - policies of MTA-STS as lines of a file; for sts.c. Owns nothing.
 *
 *	DOMAIN ID FETCHED MODE MAX_AGE MX...
 *
 * Times in seconds. The file is ours, but disks lie: each line is checked as if it came from the network. */
#include <inttypes.h>

#include "edge/sts.h"

enum { DOMAIN_MAX = 253 };

void sts_kept_put(
    struct buf *out, const char *domain, uint64_t fetched_us, const struct sts_rules *r)
{
	buf_printf(out, "%s %s %" PRIu64 " %s %" PRIu32, domain, r->id, fetched_us / 1000000,
	    sts_mode_word(r->policy.mode), r->policy.max_age_s);
	for (size_t i = 0; i < r->policy.mx_n; i++)
		buf_printf(out, " %.*s", SPAN_ARG(r->policy.mx[i]));
	buf_add_char(out, '\n');
}

static bool is_id(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alpha((unsigned char)s.p[i]) &&
		    !ascii_is_digit((unsigned char)s.p[i]))
			return false;
	return s.n > 0 && s.n <= STS_ID_MAX;
}

static bool take_patterns(struct span words, struct sts_policy *out)
{
	while (words.p != NULL) {
		struct span mx = span_cut(&words, ' ');
		if (out->mx_n == STS_MX_MAX || !sts_mx_ok(mx))
			return false;
		out->mx[out->mx_n++] = mx;
	}
	return out->mx_n > 0 || out->mode == STS_NONE;
}

static bool parse_line(struct span line, struct sts_kept *out)
{
	uint64_t fetched, max_age;
	*out = (struct sts_kept){ .domain = span_cut(&line, ' ') };
	out->id = span_cut(&line, ' ');
	struct span time = span_cut(&line, ' '), mode = span_cut(&line, ' ');
	struct span age = span_cut(&line, ' ');
	if (!sts_mx_ok(out->domain) || out->domain.n > DOMAIN_MAX || out->domain.p[0] == '*' ||
	    !is_id(out->id) || !span_u64(time, UINT32_MAX, &fetched) ||
	    !sts_mode_parse(mode, &out->policy.mode) || !span_u64(age, STS_MAX_AGE_S, &max_age))
		return false;
	out->fetched_us = fetched * 1000000;
	out->policy.max_age_s = (uint32_t)max_age;
	return take_patterns(line, &out->policy);
}

bool sts_kept_take(struct span *rest, struct sts_kept *out)
{
	while (span_find(*rest, '\n') != SIZE_MAX)
		if (parse_line(span_cut(rest, '\n'), out))
			return true;
	return false;
}
