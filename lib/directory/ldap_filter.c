/* ldap_filter.c - filters parsed by descent, depth and nodes counted. Pure; owns nothing. */
#include "directory/ldap_filter.h"

#include "base/check.h"

struct parse {
	struct span rest;
	struct ldap_tree *tree;
	unsigned depth;
};

static bool parse_one(struct parse *p, struct ldap_filter *out);

static bool take(struct parse *p, char c)
{
	if (p->rest.n == 0 || p->rest.p[0] != c)
		return false;
	p->rest = span_from(p->rest, 1);
	return true;
}

static bool put_char(struct ldap_tree *t, char c)
{
	if (t->text_n >= sizeof t->text)
		return false;
	t->text[t->text_n++] = c;
	return true;
}

/* Parts one behind the other in the tree, when all of them are known. */
static bool keep_parts(
    struct ldap_tree *t, struct ldap_filter *out, const struct ldap_filter *parts)
{
	if (t->n + out->n > LDAP_TREE_NODES_MAX)
		return false;
	out->parts = &t->nodes[t->n];
	memcpy(&t->nodes[t->n], parts, out->n * sizeof *parts);
	t->n += out->n;
	return true;
}

static bool parse_parts(struct parse *p, enum ldap_filter_kind kind, struct ldap_filter *out)
{
	struct ldap_filter parts[LDAP_TREE_PARTS_MAX];
	size_t n = 0;
	while (p->rest.n > 0 && p->rest.p[0] == '(') {
		if (n == LDAP_TREE_PARTS_MAX || !parse_one(p, &parts[n]))
			return false;
		n++;
	}
	*out = (struct ldap_filter){ .kind = kind, .n = n };
	bool enough = kind == LDAP_F_NOT ? n == 1 : n > 0;
	return enough && keep_parts(p->tree, out, parts);
}

static bool parse_attr(struct parse *p, const char **attr_out)
{
	size_t from = p->tree->text_n;
	while (p->rest.n > 0 && p->rest.p[0] != '=') {
		char c = p->rest.p[0];
		bool ok = ascii_is_alpha((unsigned char)c) || ascii_is_digit((unsigned char)c) ||
			  c == '-' || c == '.' || c == ';';
		if (!ok || !put_char(p->tree, c))
			return false;
		p->rest = span_from(p->rest, 1);
	}
	*attr_out = p->tree->text + from;
	return p->tree->text_n > from && put_char(p->tree, '\0') && take(p, '=');
}

/* Up to the next '*' or ')'; backslash and two digits stand for any byte. */
static bool parse_piece(struct parse *p, struct span *out)
{
	size_t from = p->tree->text_n;
	while (p->rest.n > 0 && p->rest.p[0] != '*' && p->rest.p[0] != ')') {
		char c = p->rest.p[0];
		if (c == '(' || c == '\0')
			return false;
		if (c == '\\') {
			int high = p->rest.n > 2 ? ascii_hex(p->rest.p[1]) : -1;
			int low = p->rest.n > 2 ? ascii_hex(p->rest.p[2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = (char)(high * 16 + low);
			p->rest = span_from(p->rest, 2);
		}
		p->rest = span_from(p->rest, 1);
		if (!put_char(p->tree, c))
			return false;
	}
	*out = span_of(p->tree->text + from, p->tree->text_n - from);
	return p->rest.n > 0;
}

/* "x*y*z": the pieces are parts; an empty first or last one is no bound. */
static bool parse_value(struct parse *p, struct ldap_filter *out)
{
	struct ldap_filter parts[LDAP_TREE_PARTS_MAX] = { 0 };
	size_t n = 0;
	do {
		if (n == LDAP_TREE_PARTS_MAX || !parse_piece(p, &parts[n].value))
			return false;
		bool inner = n > 0 && p->rest.p[0] == '*';
		parts[n++].kind = LDAP_F_EQUAL;
		if (inner && parts[n - 1].value.n == 0)
			return false;
	} while (take(p, '*'));
	if (n == 1) {
		out->kind = LDAP_F_EQUAL;
		out->value = parts[0].value;
		return true;
	}
	if (n == 2 && parts[0].value.n == 0 && parts[1].value.n == 0) {
		out->kind = LDAP_F_PRESENT;
		return true;
	}
	out->kind = LDAP_F_SUBSTRINGS;
	out->n = n;
	return keep_parts(p->tree, out, parts);
}

static bool parse_inside(struct parse *p, struct ldap_filter *out)
{
	if (take(p, '&'))
		return parse_parts(p, LDAP_F_AND, out);
	if (take(p, '|'))
		return parse_parts(p, LDAP_F_OR, out);
	if (take(p, '!'))
		return parse_parts(p, LDAP_F_NOT, out);
	*out = (struct ldap_filter){ .kind = LDAP_F_EQUAL };
	return parse_attr(p, &out->attr) && parse_value(p, out);
}

static bool parse_one(struct parse *p, struct ldap_filter *out)
{
	if (p->depth == LDAP_TREE_DEPTH_MAX || !take(p, '('))
		return false;
	p->depth++;
	bool ok = parse_inside(p, out) && take(p, ')');
	p->depth--;
	return ok;
}

bool ldap_tree_parse(struct span text, struct ldap_tree *out)
{
	struct parse p = { .rest = span_trim(text), .tree = out };
	out->n = out->text_n = 0;
	return parse_one(&p, &out->root) && p.rest.n == 0;
}

/* ---- does it fit? ---- */

static size_t find_folded(struct span in, struct span what)
{
	for (size_t i = 0; i + what.n <= in.n; i++)
		if (span_ieq(span_first(span_from(in, i), what.n), what))
			return i;
	return SIZE_MAX;
}

static bool fits_pieces(const struct ldap_filter *f, struct span value)
{
	struct span first = f->parts[0].value, last = f->parts[f->n - 1].value;
	if (!span_istarts(value, first))
		return false;
	value = span_from(value, first.n);
	for (size_t i = 1; i + 1 < f->n; i++) {
		size_t at = find_folded(value, f->parts[i].value);
		if (at == SIZE_MAX)
			return false;
		value = span_from(value, at + f->parts[i].value.n);
	}
	return span_iends(value, last);
}

static bool fits_value(const struct ldap_filter *f, struct span value)
{
	if (f->kind == LDAP_F_EQUAL)
		return span_ieq(value, f->value);
	return f->kind == LDAP_F_PRESENT || fits_pieces(f, value);
}

static bool fits_any(const struct ldap_filter *f, const struct entry *e)
{
	struct span value;
	size_t at = 0;
	while ((value = entry_next(e, f->attr, &at)).p != NULL)
		if (fits_value(f, value))
			return true;
	return false;
}

bool ldap_tree_fits(const struct ldap_filter *f, const struct entry *e)
{
	bool all = true, any = false;
	switch (f->kind) {
	case LDAP_F_AND:
	case LDAP_F_OR:
	case LDAP_F_NOT:
		for (size_t i = 0; i < f->n; i++) {
			bool fits = ldap_tree_fits(&f->parts[i], e);
			all = all && fits;
			any = any || fits;
		}
		return f->kind == LDAP_F_AND ? all : f->kind == LDAP_F_OR ? any : !any;
	case LDAP_F_EQUAL:
	case LDAP_F_PRESENT:
	case LDAP_F_SUBSTRINGS:
		return fits_any(f, e);
	case LDAP_F_ENDS:
		break; /* of the directory's own questions: no text gives it */
	}
	BUG("a kind of filter that no text gives");
}
