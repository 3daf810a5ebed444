/* access.c - who may write to whom (part of step 3; asked by envelope.c).
 *
 * Owns: the tables made from the rules' lists and files. A pattern is a key of its table; a look-up tries the
 * address, its domain, each domain above that, and the local part alone. */
#include "edge/access.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/smtp_path.h"

#include "edge/channel.h"
#include "edge/edge_conf.h"

enum { PATTERN_MAX = 320, PATTERNS_MAX = 1000000 };

struct rule {
	const struct edge_access_conf *conf;   /* borrowed */
	struct map *helo, *sender, *recipient; /* NULL: any */
	struct map *client_name;               /* NULL: any */
};

struct access {
	size_t n;
	struct rule v[];
};

/* ---- tables ----------------------------------------------------------------------------------- */

static void add_pattern(struct map **table, struct span pattern)
{
	static char there; /* the tables are sets */
	char lower[PATTERN_MAX];
	pattern = span_trim(pattern);
	if (pattern.n == 0 || pattern.n > sizeof lower)
		return;
	if (*table == NULL)
		*table = map_new(PATTERNS_MAX);
	span_lower_to(lower, pattern);
	map_set(*table, span_of(lower, pattern.n), &there, NULL);
}

static struct map *table_new(const struct conf_strings *list, const struct conf_file *file)
{
	struct map *table = NULL;
	struct span rest = file->bytes;
	for (size_t i = 0; i < list->n; i++)
		add_pattern(&table, span_str(list->v[i]));
	while (rest.n > 0) {
		struct span line = span_cut(&rest, '\n');
		add_pattern(&table, span_cut(&line, '#'));
	}
	if (table == NULL && file->path[0] != '\0')
		table = map_new(1); /* an empty file: nobody, and not everybody */
	return table;
}

static bool has(const struct map *table, struct span key)
{
	return map_get(table, key) != NULL;
}

/* "a.b.c" itself, ".b.c", ".c" */
static bool has_domain(const struct map *table, struct span domain)
{
	bool found = has(table, domain);
	for (size_t i = 0; i < domain.n && !found; i++)
		found = i > 0 && domain.p[i] == '.' && has(table, span_from(domain, i));
	return found;
}

static bool matches_name(const struct map *table, struct span name)
{
	char lower[PATTERN_MAX];
	if (table == NULL)
		return true;
	if (name.n > sizeof lower)
		return false;
	span_lower_to(lower, name);
	return has_domain(table, span_of(lower, name.n));
}

static bool matches_address(const struct map *table, struct span address)
{
	char lower[PATTERN_MAX];
	if (table == NULL)
		return true;
	if (address.n == 0)
		return has(table, SPAN("<>"));
	if (address.n > sizeof lower)
		return false;
	span_lower_to(lower, address);
	struct span all = span_of(lower, address.n);
	size_t at = span_rfind(all, '@');
	if (at == SIZE_MAX)
		return has(table, all);
	return has(table, all) || has(table, span_first(all, at + 1)) ||
	       has_domain(table, span_from(all, at + 1));
}

/* ---- rules ------------------------------------------------------------------------------------ */

static bool holds(const struct rule *r, const struct access_facts *f)
{
	const struct edge_access_conf *c = r->conf;
	if (c->client.n > 0 && !ip_in_set(f->client, &c->client))
		return false;
	if (c->authenticated != ACCESS_AUTH_ANY &&
	    (c->authenticated == ACCESS_AUTH_YES) != f->authenticated)
		return false;
	return edge_names_listener(&c->listener, f->listener) && matches_name(r->helo, f->helo) &&
	       matches_address(r->sender, f->sender) && matches_address(r->recipient, f->recipient);
}

const struct edge_access_conf *access_next(
    const struct access *a, const struct access_facts *f, size_t *at)
{
	while (*at < a->n) {
		const struct rule *r = &a->v[(*at)++];
		if (holds(r, f))
			return r->conf;
	}
	return NULL;
}

bool access_has_client_name(const struct access *a, size_t i, struct span name)
{
	CHECK(i < a->n);
	return matches_name(a->v[i].client_name, name);
}

struct access *access_new(const struct edge_conf *c)
{
	static const struct conf_file no_file = { .path = "" };
	struct access *a = mem_alloc(sizeof *a + c->access_n * sizeof a->v[0]);
	a->n = c->access_n;
	for (size_t i = 0; i < a->n; i++) {
		const struct edge_access_conf *r = c->access[i];
		a->v[i].conf = r;
		a->v[i].client_name = table_new(&r->client_name, &no_file);
		a->v[i].helo = table_new(&r->helo, &r->helo_file);
		a->v[i].sender = table_new(&r->sender, &r->sender_file);
		a->v[i].recipient = table_new(&r->recipient, &r->recipient_file);
	}
	return a;
}

void access_free(struct access **a)
{
	struct access *gone = *a;
	*a = NULL;
	for (size_t i = 0; gone != NULL && i < gone->n; i++) {
		map_free(&gone->v[i].client_name);
		map_free(&gone->v[i].helo);
		map_free(&gone->v[i].sender);
		map_free(&gone->v[i].recipient);
	}
	mem_free(gone);
}

bool access_has_table(const struct edge_access_conf *c)
{
	return c->client_table != NULL || c->client_name_table != NULL || c->helo_table != NULL ||
	       c->sender_table != NULL || c->recipient_table != NULL || c->channel_table != NULL;
}

/* ---- mistakes --------------------------------------------------------------------------------- */

static void check_references(
    const struct edge_conf *c, const struct edge_access_conf *r, struct conf_diag *d)
{
	const char *const tables[] = { r->client_table, r->client_name_table, r->helo_table,
		r->sender_table, r->recipient_table, r->channel_table };
	for (size_t i = 0; i < COUNT_OF(tables); i++)
		if (tables[i] != NULL && !table_is_named(c->table, c->table_n, tables[i]))
			conf_error(d, r->head.pos, "there is no table \"%s\"", tables[i]);
	for (size_t i = 0; i < r->channel.n; i++)
		if (!channel_is_known(c, r->channel.v[i]))
			conf_error(d, r->head.pos, "there is no channel \"%s\"", r->channel.v[i]);
	if (r->action == ACCESS_TABLE && !access_has_table(r))
		conf_error(d, r->head.pos, "action table needs a table to look into");
}

static void check_pattern(
    const struct edge_access_conf *r, struct span pattern, struct conf_diag *d)
{
	pattern = span_trim(pattern);
	if (pattern.n > PATTERN_MAX)
		conf_error(d, r->head.pos, "\"%.*s...\" is longer than any address",
		    SPAN_ARG(span_first(pattern, 40)));
	else if (span_find(pattern, ' ') != SIZE_MAX || span_find(pattern, '\t') != SIZE_MAX)
		conf_error(d, r->head.pos, "\"%.*s\" is no address and no name", SPAN_ARG(pattern));
}

static void check_patterns(const struct edge_access_conf *r, const struct conf_strings *list,
    const struct conf_file *file, struct conf_diag *d)
{
	struct span rest = file != NULL ? file->bytes : SPAN_NONE;
	size_t n = list->n;
	for (size_t i = 0; i < list->n; i++)
		check_pattern(r, span_str(list->v[i]), d);
	while (rest.n > 0) {
		struct span line = span_cut(&rest, '\n');
		check_pattern(r, span_cut(&line, '#'), d);
		n++;
	}
	if (n > PATTERNS_MAX)
		conf_error(d, r->head.pos, "more than %d lines: use a table", PATTERNS_MAX);
}

/* A typing error in a condition would be a rule that never holds. */
static void check_conditions(
    const struct edge_conf *c, const struct edge_access_conf *r, struct conf_diag *d)
{
	for (size_t i = 0; i < r->listener.n; i++)
		if (edge_listener(c, r->listener.v[i]) == NULL)
			conf_error(d, r->head.pos, "there is no listener \"%s\"", r->listener.v[i]);
	if ((r->client_name.n > 0 || r->client_name_table != NULL) && !c->reverse_names)
		conf_error(d, r->head.pos, "names of clients need reverse_names yes");
	check_patterns(r, &r->client_name, NULL, d);
	check_patterns(r, &r->helo, &r->helo_file, d);
	check_patterns(r, &r->sender, &r->sender_file, d);
	check_patterns(r, &r->recipient, &r->recipient_file, d);
}

static bool is_plain(const char *title)
{
	for (const char *p = title; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return title[0] != '\0';
}

void access_check(const struct edge_conf *c, struct conf_diag *d)
{
	struct smtp_path path;
	const char *why = NULL;
	for (size_t i = 0; i < c->access_n; i++) {
		const struct edge_access_conf *r = c->access[i];
		if (!is_plain(r->head.title))
			conf_error(d, r->head.pos, "a rule needs a name: access NAME { ... }");
		if ((r->action == ACCESS_REDIRECT) != (r->to != NULL))
			conf_error(d, r->head.pos, "to and action redirect go together");
		check_references(c, r, d);
		check_conditions(c, r, d);
		if (r->to != NULL && smtp_address_parse(span_str(r->to), 0, &path, &why))
			conf_error(d, r->head.pos, "to: %s", why);
	}
}
