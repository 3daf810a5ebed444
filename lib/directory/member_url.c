/* member_url.c - LDAP URLs of groups taken apart. Pure; owns nothing. */
#include "directory/member_url.h"

enum { URL_MAX = 1024 };

static bool put_decoded(struct buf *out, struct span text)
{
	while (text.n > 0) {
		char c;
		if (!span_cut_escaped(&text, &c) || c == '\0')
			return false;
		buf_add_char(out, c);
	}
	return buf_ok(out);
}

static bool parse_base(struct span text, struct member_url *out)
{
	struct buf typed = BUF_INIT(DN_BYTES_MAX), key = BUF_INIT(DN_BYTES_MAX);
	bool ok = put_decoded(&typed, text) && name_dn_key(&key, buf_span(&typed));
	if (ok) {
		memcpy(out->base, buf_span(&key).p, buf_len(&key));
		out->base[buf_len(&key)] = '\0';
	}
	buf_end(&typed);
	buf_end(&key);
	return ok;
}

static bool parse_scope(struct span text, enum member_scope *out)
{
	static const char *const words[] = { "base", "one", "sub" };
	*out = MEMBER_BASE;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (span_ieq_str(text, words[i])) {
			*out = (enum member_scope)i;
			return true;
		}
	return text.n == 0;
}

static bool parse_filter(struct span text, struct ldap_tree *out)
{
	struct buf plain = BUF_INIT(URL_MAX);
	if (text.n == 0)
		text = SPAN("(objectClass=*)");
	bool ok = put_decoded(&plain, text) && ldap_tree_parse(buf_span(&plain), out);
	buf_end(&plain);
	return ok;
}

bool member_url_parse(struct span text, struct member_url *out, const char **why_out)
{
	*why_out = NULL;
	if (text.n > URL_MAX)
		*why_out = "the URL is too long";
	else if (!span_istarts(text, SPAN("ldap:///")))
		*why_out = "it is not ldap:///BASE??SCOPE?FILTER";
	if (*why_out != NULL)
		return false;
	struct span rest = span_from(text, 8);
	struct span base = span_cut(&rest, '?');
	span_cut(&rest, '?'); /* attributes */
	struct span scope = span_cut(&rest, '?'), filter = span_cut(&rest, '?');
	if (!parse_base(base, out))
		*why_out = "its base is not a DN";
	else if (!parse_scope(scope, &out->scope))
		*why_out = "its scope is not base, one or sub";
	else if (!parse_filter(filter, &out->filter))
		*why_out = "its filter cannot be used";
	else if (rest.n > 0)
		*why_out = "extensions are not taken";
	return *why_out == NULL;
}

bool member_dn_allowed(const struct directory_conf *c, struct span dn)
{
	for (size_t i = 0; i < c->group_bases.n; i++)
		if (name_dn_within(dn, span_str(c->group_bases.v[i])))
			return true;
	if (c->group_bases.n > 0)
		return false;
	return c->base == NULL || c->base[0] == '\0' || name_dn_within(dn, span_str(c->base));
}

bool member_url_fits(const struct member_url *u, const struct entry *e)
{
	struct buf key = BUF_INIT(DN_BYTES_MAX);
	struct span base = span_str(u->base), dn;
	bool fits = name_dn_key(&key, entry_dn(e)) && name_dn_within(buf_span(&key), base);
	dn = buf_span(&key);
	if (fits && u->scope == MEMBER_BASE)
		fits = dn.n == base.n;
	if (fits && u->scope == MEMBER_ONE) {
		size_t comma = span_find(dn, ',');
		fits = comma != SIZE_MAX && dn.n - comma - 1 == base.n;
	}
	fits = fits && ldap_tree_fits(&u->filter.root, e);
	buf_end(&key);
	return fits;
}
