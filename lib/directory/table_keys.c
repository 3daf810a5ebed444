/* table_keys.c - the keys of a client, a name or an address. Owns the text of the keys it makes. */
#include "directory/table_keys.h"

#include "base/check.h"

enum { TEXT_MAX = TABLE_KEYS_MAX * TABLE_KEY_MAX };

static void add_joined(struct table_keys *k, struct span first, struct span second)
{
	size_t at = buf_len(&k->text);
	if (k->n == TABLE_KEYS_MAX || first.n + second.n == 0)
		return;
	buf_add_span(&k->text, first);
	buf_add_span(&k->text, second);
	k->v[k->n].at = at;
	k->v[k->n++].n = first.n + second.n;
}

static void add(struct table_keys *k, struct span key)
{
	add_joined(k, key, SPAN_NONE);
}

/* What is left of it when its last part goes, and so on. */
static void add_networks(struct table_keys *k, struct span address)
{
	char sep = span_find(address, ':') != SIZE_MAX ? ':' : '.';
	size_t at;
	add(k, address);
	while ((at = span_rfind(address, sep)) != SIZE_MAX) {
		address = span_first(address, at);
		add(k, address);
	}
}

static size_t dots(struct span s)
{
	size_t n = 0;
	for (size_t i = 1; i < s.n; i++)
		n += s.p[i] == '.';
	return n;
}

static void add_domain(struct table_keys *k, struct span domain, bool plain)
{
	add(k, domain);
	size_t skip = dots(domain);
	skip = skip > TABLE_PARENTS_MAX ? skip - TABLE_PARENTS_MAX : 0;
	for (size_t i = 1; i < domain.n; i++) {
		if (domain.p[i] != '.' || domain.p[0] == '[')
			continue;
		if (skip > 0)
			skip--;
		else
			add(k, span_from(domain, plain ? i + 1 : i));
	}
}

static void add_address(struct table_keys *k, struct span address, bool plain)
{
	size_t at = span_rfind(address, '@');
	struct span local = at == SIZE_MAX ? address : span_first(address, at);
	struct span domain = at == SIZE_MAX ? SPAN_NONE : span_from(address, at);
	size_t plus = local.n > 0 && local.p[0] != '"' ? span_find(local, '+') : SIZE_MAX;
	bool detail = plus != SIZE_MAX && plus > 0;
	struct span base = detail ? span_first(local, plus) : local;
	add(k, address);
	if (detail)
		add_joined(k, base, domain);
	if (domain.n > 1)
		add_domain(k, span_from(domain, 1), plain);
	add_joined(k, local, SPAN("@"));
	if (detail)
		add_joined(k, base, SPAN("@"));
}

void table_keys_of(enum table_use use, struct span what, bool plain, struct table_keys *out)
{
	char lower[TABLE_KEY_MAX];
	*out = (struct table_keys){ .text = BUF_INIT(TEXT_MAX) };
	if (what.n >= sizeof lower)
		return;
	if (use == TABLE_ADDRESS && what.n == 0)
		what = SPAN("<>");
	span_lower_to(lower, what);
	struct span key = span_of(lower, what.n);
	if (use == TABLE_CLIENT)
		add_networks(out, key);
	else if (use == TABLE_NAME)
		add_domain(out, key, plain);
	else if (use == TABLE_ADDRESS && !span_eq_str(key, "<>"))
		add_address(out, key, plain);
	else
		add(out, key);
	CHECK(buf_ok(&out->text));
}

void table_keys_end(struct table_keys *k)
{
	buf_end(&k->text);
	k->n = 0;
}

struct span table_key(const struct table_keys *k, size_t i)
{
	CHECK(i < k->n);
	return span_first(span_from(buf_span(&k->text), k->v[i].at), k->v[i].n);
}

enum table_use table_use_of(struct span word)
{
	static const char *const words[TABLE_USES] = { "word", "client", "name", "address" };
	size_t i = 0;
	while (i < TABLE_USES && !span_eq_str(word, words[i]))
		i++;
	return (enum table_use)i;
}
