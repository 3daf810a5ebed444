/* template.c - see template.h. Owns nothing. */
#include "edge/template.h"

static const char *const names[TEMPLATE_NAMES] = {
	[TEMPLATE_USER] = "user",
	[TEMPLATE_LOCAL] = "local",
	[TEMPLATE_DOMAIN] = "domain",
	[TEMPLATE_DETAIL] = "detail",
	[TEMPLATE_ADDRESS] = "address",
	[TEMPLATE_SENDER] = "sender",
	[TEMPLATE_ID] = "id",
	[TEMPLATE_HOME] = "home",
};

static bool is_plain(char c)
{
	return ascii_is_alpha((unsigned char)c) || ascii_is_digit((unsigned char)c) ||
	       (c != '\0' && strchr("._-+=@", c) != NULL);
}

bool template_is_plain(struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (!is_plain(value.p[i]))
			return false;
	return true;
}

bool template_put_plain(struct buf *out, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		buf_add_char(out, is_plain(value.p[i]) ? value.p[i] : '_');
	return buf_ok(out);
}

static enum template_name name_of(struct span word)
{
	size_t i = 0;
	while (i < TEMPLATE_NAMES && !span_eq_str(word, names[i]))
		i++;
	return (enum template_name)i;
}

/* Takes what is literal up to the next name. TEMPLATE_NAMES: the text ends there, or *bad_out. */
static enum template_name next(struct span *rest, struct span *literal_out, bool *bad_out)
{
	size_t open = span_find(*rest, '{');
	*bad_out = false;
	*literal_out = open == SIZE_MAX ? *rest : span_first(*rest, open);
	*rest = open == SIZE_MAX ? SPAN_NONE : span_from(*rest, open + 1);
	if (open == SIZE_MAX)
		return TEMPLATE_NAMES;
	size_t close = span_find(*rest, '}');
	enum template_name name =
	    close == SIZE_MAX ? TEMPLATE_NAMES : name_of(span_first(*rest, close));
	*bad_out = name == TEMPLATE_NAMES;
	if (!*bad_out)
		*rest = span_from(*rest, close + 1);
	return name;
}

const char *template_mistake(const char *text)
{
	struct span rest = span_str(text), literal;
	bool bad;
	while (next(&rest, &literal, &bad) != TEMPLATE_NAMES)
		continue;
	return bad ? rest.p - 1 : NULL;
}

bool template_names(const char *text, enum template_name name)
{
	struct span rest = span_str(text), literal;
	enum template_name at;
	bool bad;
	while ((at = next(&rest, &literal, &bad)) != TEMPLATE_NAMES)
		if (at == name)
			return true;
	return false;
}

static bool may_stand(const struct buf *out, size_t start, struct span value, enum template_use use)
{
	bool first = buf_len(out) == start, in_path = use == TEMPLATE_PATH;
	if (!template_is_plain(value) || (first && value.n > 0 && value.p[0] == '-'))
		return false;
	return !in_path || (value.n > 0 && value.p[0] != '.');
}

bool template_put(
    struct buf *out, const char *text, const struct template_facts *f, enum template_use use)
{
	struct span rest = span_str(text), literal;
	size_t start = buf_len(out);
	enum template_name name;
	bool bad;
	while ((name = next(&rest, &literal, &bad)) != TEMPLATE_NAMES) {
		buf_add_span(out, literal);
		if (name != TEMPLATE_HOME && !may_stand(out, start, f->v[name], use))
			return false;
		buf_add_span(out, f->v[name]);
	}
	return !bad && buf_add_span(out, literal) && buf_ok(out);
}
