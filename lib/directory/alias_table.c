/* alias_table.c - the text of an alias file as a table. Pure. */
#include "directory/alias_file.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/smtp_path.h"

#include "directory/name.h"

enum { LINE_MAX_BYTES = 64 * 1024 };

struct alias {
	size_t n; /* targets */
	char texts[];
};

struct alias_table {
	struct map *aliases; /* key -> struct alias, owned */
};

struct parse {
	struct alias_table *table;
	const char *default_domain;
	const char *why;
};

static bool fail(struct parse *p, const char *why)
{
	if (p->why == NULL)
		p->why = why;
	return false;
}

/* "name", "name@domain", and as a name also "@domain". */
static bool put_name(struct parse *p, struct buf *out, struct span text, bool may_be_all)
{
	bool all = may_be_all && text.n > 1 && text.p[0] == '@';
	if (all) {
		if (!name_host_key(out, span_from(text, 1)))
			return fail(p, "a domain is not usable");
		char *domain = mem_span_str(buf_span(out));
		buf_clear(out);
		buf_printf(out, "@%s", domain);
		mem_free(domain);
		return true;
	}
	if (text.n > 0 &&
	    (text.p[0] == '|' || text.p[0] == '/' || text.p[0] == ':' || text.p[0] == '"'))
		return fail(p, "commands, files, includes and quoted names are not taken");
	struct smtp_path path;
	if (!name_user_key(out, text, p->default_domain) ||
	    smtp_address_parse(buf_span(out), SMTP_PATH_UTF8_OK, &path, NULL))
		return fail(p, "a name is not an address, or there is no default_domain");
	return true;
}

/* Targets keep the case of their local parts. */
static bool put_target(struct parse *p, struct buf *texts, struct span text)
{
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX);
	bool ok = put_name(p, &key, text, false);
	if (ok && name_domain(text).p == NULL)
		buf_printf(texts, "%.*s@%s", SPAN_ARG(text), p->default_domain);
	else if (ok)
		buf_add_span(texts, text);
	buf_add_char(texts, '\0');
	buf_end(&key);
	return ok;
}

static bool put_targets(struct parse *p, struct buf *texts, struct span list, size_t *n_out)
{
	*n_out = 0;
	while (list.p != NULL) {
		struct span one = span_trim(span_cut(&list, ','));
		if (one.n == 0)
			continue;
		if (++*n_out > ALIAS_TARGETS_MAX)
			return fail(p, "too many targets");
		if (!put_target(p, texts, one))
			return false;
	}
	return *n_out > 0 ? true : fail(p, "an alias without a target");
}

static bool keep(struct parse *p, struct span key, struct span texts, size_t n)
{
	if (map_get(p->table->aliases, key) != NULL)
		return fail(p, "this name stands here twice");
	struct alias *a = mem_alloc(sizeof *a + texts.n);
	a->n = n;
	memcpy(a->texts, texts.p, texts.n);
	if (map_set(p->table->aliases, key, a, NULL))
		return true;
	mem_free(a);
	return fail(p, "too many names");
}

static bool parse_alias(struct parse *p, struct span line)
{
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX), texts = BUF_INIT(LINE_MAX_BYTES);
	size_t colon = span_find(line, ':'), n = 0;
	bool ok = colon != SIZE_MAX ? true : fail(p, "there is no colon");
	ok = ok && put_name(p, &key, span_trim(span_first(line, colon)), true);
	ok = ok && put_targets(p, &texts, span_from(line, colon + 1), &n);
	if (ok && !buf_ok(&texts))
		ok = fail(p, "the line is too long");
	ok = ok && keep(p, buf_span(&key), buf_span(&texts), n);
	buf_end(&key);
	buf_end(&texts);
	return ok;
}

static bool goes_on(struct span line)
{
	return line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');
}

/* Joins a line with those that go on with it; *lines counts them. Comments and empty lines give nothing. */
static bool take_logical(struct span *rest, struct buf *out, size_t *lines)
{
	buf_clear(out);
	while (rest->p != NULL) {
		struct span line = span_cut(rest, '\n');
		++*lines;
		struct span trimmed = span_trim(line);
		if (trimmed.n > 0 && trimmed.p[0] != '#')
			buf_printf(out, "%s%.*s", buf_len(out) > 0 ? " " : "", SPAN_ARG(trimmed));
		if (rest->p == NULL || !goes_on(*rest))
			break;
	}
	return buf_ok(out);
}

static void parse_all(struct parse *p, struct span text, size_t *line_out)
{
	struct buf line = BUF_INIT(LINE_MAX_BYTES);
	size_t lines = 0;
	while (text.p != NULL && p->why == NULL) {
		*line_out = lines + 1;
		if (!take_logical(&text, &line, &lines))
			fail(p, "the line is too long");
		else if (buf_len(&line) > 0)
			parse_alias(p, buf_span(&line));
	}
	buf_end(&line);
}

struct alias_table *alias_table_parse(
    struct span text, const char *default_domain, size_t *line_out, const char **why_out)
{
	struct alias_table *t = MEM_NEW(struct alias_table);
	struct parse p = { .table = t, .default_domain = default_domain };
	t->aliases = map_new(ALIASES_MAX);
	*line_out = 0;
	if (span_find(text, '\0') != SIZE_MAX)
		fail(&p, "a NUL in it");
	parse_all(&p, text, line_out);
	*why_out = p.why;
	if (p.why != NULL)
		alias_table_free(&t);
	return t;
}

static bool free_alias(void *arg, struct span key, void *value)
{
	mem_free(value);
	return true;
}

void alias_table_free(struct alias_table **t)
{
	if (*t == NULL)
		return;
	map_each((*t)->aliases, free_alias, NULL);
	map_free(&(*t)->aliases);
	MEM_FREE(t);
}

struct text_list alias_table_get(const struct alias_table *t, struct span key)
{
	const struct alias *a = map_get(t->aliases, key);
	struct text_list none = { 0 };
	return a == NULL ? none : (struct text_list){ a->texts, a->n };
}

size_t alias_table_count(const struct alias_table *t)
{
	return map_count(t->aliases);
}
