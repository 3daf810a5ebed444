/* name.c - hostile names made into keys. Pure. */
#include "directory/name.h"

bool name_is_clean(struct span s, size_t max)
{
	if (s.n == 0 || s.n > max || !span_is_utf8(s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

static void put_lower(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out, ascii_lower(s.p[i]));
}

static struct span without_final_dot(struct span domain)
{
	if (domain.n > 1 && domain.p[domain.n - 1] == '.')
		domain.n--;
	return domain;
}

bool name_user_key(struct buf *out, struct span typed, const char *default_domain)
{
	struct span domain = name_domain(typed), local = name_local(typed);
	buf_clear(out);
	if (!name_is_clean(typed, NAME_BYTES_MAX) || local.n == 0)
		return false;
	if (domain.p == NULL)
		domain = span_str(default_domain);
	else if (domain.n == 0)
		return false;
	domain = without_final_dot(domain);
	put_lower(out, local);
	if (domain.n > 0) {
		buf_add_char(out, '@');
		put_lower(out, domain);
	}
	return buf_ok(out) && domain.n <= DOMAIN_BYTES_MAX && buf_len(out) <= NAME_BYTES_MAX;
}

bool name_host_key(struct buf *out, struct span typed)
{
	buf_clear(out);
	if (!name_is_clean(typed, DOMAIN_BYTES_MAX + 1) || span_find(typed, '@') != SIZE_MAX)
		return false;
	put_lower(out, without_final_dot(typed));
	return buf_ok(out) && buf_len(out) <= DOMAIN_BYTES_MAX;
}

struct span name_local(struct span key)
{
	return span_first(key, span_rfind(key, '@'));
}

struct span name_domain(struct span key)
{
	size_t at = span_rfind(key, '@');
	return at == SIZE_MAX ? SPAN_NONE : span_from(key, at + 1);
}

bool name_strip_detail(struct buf *out, struct span key)
{
	size_t plus = span_find(name_local(key), '+');
	buf_clear(out);
	if (plus == SIZE_MAX || plus == 0)
		return false;
	buf_add_span(out, span_first(key, plus));
	buf_add_span(out, span_from(key, name_local(key).n));
	return buf_ok(out);
}
