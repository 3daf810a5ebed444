/* ldap_template.c - names put into the values of a filter's tree. Pure; owns nothing. */
#include "directory/ldap_template.h"

#include "base/mem.h"

struct parts {
	struct span s, u, d;
};

static struct parts parts_of(struct span key)
{
	size_t at = span_rfind(key, '@');
	if (at == SIZE_MAX)
		return (struct parts){ key, key, SPAN_NONE };
	return (struct parts){ key, span_first(key, at), span_from(key, at + 1) };
}

/* False: a part that is wanted is not there, or it does not fit. */
static bool put_value(struct buf *text, struct span value, const struct parts *p)
{
	while (value.n > 0) {
		size_t at = span_find(value, '%');
		buf_add_span(text, span_first(value, at == SIZE_MAX ? value.n : at));
		if (at == SIZE_MAX || at + 1 == value.n)
			break;
		char what = value.p[at + 1];
		struct span part = what == 's' ? p->s : what == 'u' ? p->u : p->d;
		if (what == '%')
			part = SPAN("%");
		if (part.n == 0)
			return false;
		buf_add_span(text, part);
		value = span_from(value, at + 2);
	}
	return buf_ok(text);
}

static bool is_template(struct span value)
{
	bool ok = true;
	for (size_t i = 0; i < value.n && ok; i++)
		if (value.p[i] == '%') {
			char what = i + 1 < value.n ? value.p[i + 1] : '\0';
			ok = what == 's' || what == 'u' || what == 'd' || what == '%';
			i++;
		}
	return ok;
}

bool ldap_template_parse(struct span text, struct ldap_tree *out)
{
	if (!ldap_tree_parse(text, out) || !is_template(out->root.value))
		return false;
	for (size_t i = 0; i < out->n; i++)
		if (!is_template(out->nodes[i].value))
			return false;
	return true;
}

bool ldap_template_ok(struct span text)
{
	struct ldap_tree *tree = MEM_NEW(struct ldap_tree);
	bool ok = ldap_template_parse(text, tree);
	mem_free(tree);
	return ok;
}

static struct ldap_filter moved(
    const struct ldap_filter *f, const struct ldap_tree *from, struct ldap_filled *to, size_t i)
{
	struct ldap_filter out = *f;
	if (f->parts != NULL)
		out.parts = to->nodes + (f->parts - from->nodes);
	out.value = span_first(span_from(buf_span(&to->text), to->at[i]), to->n[i]);
	return out;
}

bool ldap_template_fill(const struct ldap_tree *tree, struct span key, struct ldap_filled *out)
{
	struct parts p = parts_of(key);
	out->text = BUF_INIT(LDAP_TEMPLATE_TEXT_MAX);
	for (size_t i = 0; i <= tree->n; i++) {
		const struct ldap_filter *f = i < tree->n ? &tree->nodes[i] : &tree->root;
		size_t k = i < tree->n ? i : LDAP_TREE_NODES_MAX;
		out->at[k] = buf_len(&out->text);
		if (!put_value(&out->text, f->value, &p))
			return false;
		out->n[k] = buf_len(&out->text) - out->at[k];
	}
	for (size_t i = 0; i < tree->n; i++)
		out->nodes[i] = moved(&tree->nodes[i], tree, out, i);
	out->root = moved(&tree->root, tree, out, LDAP_TREE_NODES_MAX);
	return true;
}
