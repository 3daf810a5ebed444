/* name.c - hostile names made into keys. Pure. */
#include "directory/name.h"

bool name_is_clean(struct span s, size_t max)
{
	return s.n > 0 && s.n <= max && !span_has_control(s) && span_is_utf8(s);
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

static bool is_separator(char c)
{
	return c == ',' || c == '=' || c == '+';
}

static size_t behind_spaces(struct span s, size_t at)
{
	while (at < s.n && s.p[at] == ' ')
		at++;
	return at;
}

bool name_dn_key(struct buf *out, struct span dn)
{
	buf_clear(out);
	dn = span_trim(dn);
	if (!name_is_clean(dn, DN_BYTES_MAX))
		return false;
	for (size_t i = 0; i < dn.n; i++) {
		size_t next = behind_spaces(dn, i);
		bool before = next > i && next < dn.n && is_separator(dn.p[next]);
		bool behind = next > i && i > 0 && is_separator(dn.p[i - 1]) &&
			      !(i > 1 && dn.p[i - 2] == '\\');
		if (before || behind)
			i = next;
		buf_add_char(out, ascii_lower(dn.p[i]));
	}
	return buf_ok(out);
}

bool name_dn_within(struct span key, struct span base)
{
	struct buf b = BUF_INIT(DN_BYTES_MAX);
	bool ok = name_dn_key(&b, base) && buf_len(&b) <= key.n;
	if (ok) {
		struct span tail = span_from(key, key.n - buf_len(&b));
		ok = span_eq(tail, buf_span(&b)) &&
		     (tail.n == key.n || key.p[key.n - tail.n - 1] == ',');
	}
	buf_end(&b);
	return ok;
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
