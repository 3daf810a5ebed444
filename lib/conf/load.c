/* load.c - step 4 of loading: statements to structs by the tables, defaults, missing and unknown
 * names; before: tree.c, value.c. Owns snapshots and their reference counts. */
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include "conf/nearest.h"
#include "conf/snapshot.h"
#include "conf/tree.h"
#include "conf/value.h"

enum { REVISION_TEXT_MAX = 16 * 1024 * 1024 };

struct loader {
	struct conf *c;
	struct conf_source *src;
	struct conf_diag *d;
	bool hollow; /* the block being filled lacks a value that has no default */
};

/* What the file says about one row of a block. */
struct given {
	const struct node *first;  /* NULL: nothing */
	const struct node *broken; /* a statement with a syntax error: already reported */
	struct conf_value *values;
	struct conf_value **tail;
	size_t count; /* statements, or nested blocks */
};

static const struct conf_block no_root = { .name = "", .size = sizeof(struct conf_head) };

static const struct conf_param *find_param(const struct conf_block *b, struct span name)
{
	for (size_t i = 0; i < b->count; i++)
		if (span_eq_str(name, b->params[i].name))
			return &b->params[i];
	return NULL;
}

static const struct conf_block *find_section(const struct conf_schema *s, struct span name)
{
	for (const struct conf_block *const *b = s->sections; b != NULL && *b != NULL; b++)
		if (span_eq_str(name, (*b)->name))
			return *b;
	return NULL;
}

static bool is_foreign(const struct conf_schema *s, const struct node *n)
{
	for (const char *const *f = s->foreign; f != NULL && *f != NULL; f++)
		if (span_eq_str(n->name, *f) || (strcmp(*f, "*") == 0 && n->kind == NODE_BLOCK))
			return true;
	return false;
}

static void report_unknown(struct loader *l, const struct conf_block *b, const struct node *n)
{
	struct nearest near;
	const struct conf_schema *s = l->c->schema;
	bool top = b == l->c->root->block;
	nearest_init(&near, n->name);
	for (size_t i = 0; i < b->count; i++)
		nearest_try(&near, b->params[i].name);
	for (size_t i = 0; top && s->sections != NULL && s->sections[i] != NULL; i++)
		nearest_try(&near, s->sections[i]->name);
	for (size_t i = 0; top && s->foreign != NULL && s->foreign[i] != NULL; i++)
		nearest_try(&near, s->foreign[i]);
	conf_error(l->d, n->pos, "unknown %s \"%.80s\"%s%s%s%s%s%s",
	    n->kind == NODE_BLOCK ? "block" : "option", n->name.p, top ? "" : " in \"",
	    top ? "" : b->name, top ? "" : "\"", near.best != NULL ? ": did you mean \"" : "",
	    near.best != NULL ? near.best : "", near.best != NULL ? "\"?" : "");
}

static void report_shape(struct loader *l, const struct node *n)
{
	if (n->kind == NODE_BLOCK)
		conf_error(l->d, n->pos, "\"%s\" is an option, not a block: write %s value;",
		    n->name.p, n->name.p);
	else
		conf_error(l->d, n->pos, "\"%s\" is a block, not an option: write %s { ... }",
		    n->name.p, n->name.p);
}

static void take_option(
    struct loader *l, const struct conf_param *p, struct given *g, const struct node *n)
{
	if (g->first != NULL && !value_is_list(p)) {
		conf_error(l->d, n->pos, "\"%s\" is given twice, first at %s:%u", p->name,
		    g->first->pos.file, g->first->pos.line);
		return;
	}
	if (n->values == NULL) {
		conf_error(l->d, n->pos, "\"%s\" needs a value", p->name);
		g->broken = n;
		return;
	}
	if (g->first == NULL) {
		g->first = n;
		g->tail = &g->values;
	}
	g->count++;
	*g->tail = n->values;
	while (*g->tail != NULL)
		g->tail = &(*g->tail)->next;
}

static struct filled *fill_block(
    struct loader *l, const struct conf_block *b, const struct node *n, const char *name);

static void take_nested(struct loader *l, const struct conf_param *p, struct filled *f,
    struct given *g, const struct node *n)
{
	struct span title = n->title != NULL ? n->title->text : SPAN("");
	if (g->count >= p->max) {
		conf_error(l->d, n->pos, "more than %u of \"%s\"", p->max, p->name);
		return;
	}
	for (const struct filled *o = f->children; o != NULL; o = o->next) {
		const struct conf_head *head = o->data;
		if (o->name == p->name && span_eq_str(title, head->title)) {
			conf_error(l->d, n->pos,
			    "a second \"%s\" with the title \"%s\", first at %s:%u", p->name,
			    title.p, head->pos.file, head->pos.line);
			return;
		}
	}
	if (g->first == NULL)
		g->first = n;
	g->count++;
	bool outer = l->hollow;
	l->hollow = false;
	*f->tail = fill_block(l, p->block, n, p->name);
	(*f->tail)->hollow = l->hollow;
	f->tail = &(*f->tail)->next;
	l->hollow = outer;
}

static void take_statement(
    struct loader *l, struct filled *f, struct given *given, const struct node *n)
{
	const struct conf_param *p = find_param(f->block, n->name);
	if (p == NULL) {
		report_unknown(l, f->block, n);
		return;
	}
	struct given *g = &given[p - f->block->params];
	if (n->kind == NODE_BROKEN)
		g->broken = n;
	else if ((n->kind == NODE_BLOCK) != (p->type == CONF_BLOCKS))
		report_shape(l, n);
	else if (n->kind == NODE_BLOCK)
		take_nested(l, p, f, g, n);
	else
		take_option(l, p, g, n);
}

/* The nested blocks of one row into the struct's array: those a check may look into. */
static void set_blocks(struct loader *l, struct filled *f, const struct conf_param *p, size_t n)
{
	void **v = n > 0 ? arena_array(l->c->arena, n, sizeof *v) : NULL;
	size_t i = 0;
	for (const struct filled *o = f->children; o != NULL; o = o->next)
		if (o->name == p->name && !o->hollow)
			v[i++] = o->data;
	memcpy(filled_field(f, p), &v, sizeof(void *));
	memcpy((char *)f->data + p->count_offset, &i, sizeof i);
}

/* What is in error gets its default, so that checks over several options can still be made. */
static void set_option(
    struct loader *l, struct filled *f, size_t row, const struct given *g, bool absent)
{
	const struct conf_param *p = &f->block->params[row];
	struct value_ctx ctx = { l->src, l->c->arena, l->d, p };
	const struct conf_head *head = f->data;
	void *field = filled_field(f, p);
	if (p->type == CONF_FILE || p->type == CONF_SECRET)
		((struct conf_file *)field)->path = "";
	if (g->first != NULL) {
		((struct conf_pos *)f->from)[row] = g->first->pos;
		if (value_set(&ctx, g->values, field))
			return;
	}
	if (p->def != NULL) {
		value_set_default(&ctx, head->pos, field);
	} else if (!absent) {
		l->hollow = true;
		if (g->first == NULL && g->broken == NULL)
			conf_error(l->d, head->pos, "\"%s\" must be given in block \"%s\"", p->name,
			    f->name);
	}
}

/* n == NULL: all defaults. */
static struct filled *fill_block(
    struct loader *l, const struct conf_block *b, const struct node *n, const char *name)
{
	struct filled *f = arena_alloc(l->c->arena, sizeof *f);
	struct given *given = mem_array(b->count, sizeof *given);
	struct conf_head *head = arena_alloc(l->c->arena, b->size);
	f->block = b;
	f->name = name;
	f->data = head;
	f->tail = &f->children;
	f->from = arena_array(l->c->arena, b->count, sizeof *f->from);
	f->present = n != NULL;
	head->title = n != NULL && n->title != NULL ? n->title->text.p : "";
	head->pos = n != NULL ? n->pos : (struct conf_pos){ "(built in)", 0, 0 };
	for (const struct node *s = n != NULL ? n->children : NULL; s != NULL; s = s->next)
		take_statement(l, f, given, s);
	for (size_t i = 0; i < b->count; i++) {
		if (b->params[i].type == CONF_BLOCKS)
			set_blocks(l, f, &b->params[i], given[i].count);
		else
			set_option(l, f, i, &given[i], n == NULL);
	}
	mem_free(given);
	return f;
}

/* Takes the top-level blocks that are sections of this or of other programs out of the tree. */
static struct node *take_sections(struct loader *l, struct node *root)
{
	struct node *sections = NULL, **tail = &sections, **at = &root->children;
	const struct conf_schema *s = l->c->schema;
	while (*at != NULL) {
		struct node *n = *at;
		bool nested = s->root != NULL && find_param(s->root, n->name) != NULL;
		if (nested || (find_section(s, n->name) == NULL && !is_foreign(s, n))) {
			at = &n->next;
			continue;
		}
		*at = n->next;
		n->next = NULL;
		*tail = n;
		tail = &n->next;
	}
	return sections;
}

static const struct node *check_section(struct loader *l, const struct node *all, struct span name)
{
	const struct node *found = NULL;
	for (const struct node *n = all; n != NULL; n = n->next) {
		if (!span_eq(n->name, name) || n->kind == NODE_BROKEN)
			continue;
		if (n->kind != NODE_BLOCK)
			report_shape(l, n);
		else if (found != NULL)
			conf_error(l->d, n->pos, "section \"%s\" stands twice, first at %s:%u",
			    n->name.p, found->pos.file, found->pos.line);
		else if (n->title != NULL)
			conf_error(l->d, n->title->pos, "section \"%s\" takes no title", n->name.p);
		if (n->kind == NODE_BLOCK && found == NULL)
			found = n;
	}
	return found;
}

static void fill_sections(struct loader *l, const struct node *all)
{
	const struct conf_schema *s = l->c->schema;
	struct filled **tail = &l->c->sections;
	size_t n_all = 0;
	for (size_t i = 0; s->sections != NULL && s->sections[i] != NULL; i++) {
		const struct conf_block *b = s->sections[i];
		*tail = fill_block(l, b, check_section(l, all, span_str(b->name)), b->name);
		tail = &(*tail)->next;
	}
	for (const struct node *n = all; n != NULL; n = n->next)
		n_all++;
	l->c->others = arena_array(l->c->arena, n_all, sizeof *l->c->others);
	for (const struct node *n = all; n != NULL; n = n->next)
		if (find_section(s, n->name) == NULL && !conf_has_foreign(l->c, n->name.p) &&
		    check_section(l, all, n->name) != NULL)
			l->c->others[l->c->other_count++] = n->name.p;
}

static uint64_t hash_text(const struct conf *c)
{
	static const struct hash_key key = { 0x706f737465726e31u, 0x636f6e6669672e72u };
	struct buf text = BUF_INIT(REVISION_TEXT_MAX);
	snapshot_put_effective(c, &text);
	uint64_t h = hash_sip(&key, buf_span(&text));
	buf_end(&text);
	return h;
}

struct conf *conf_load(const struct conf_schema *schema, struct conf_source *src,
    const struct conf_strings *overrides, struct conf_diag *d)
{
	struct loader l = { MEM_NEW(struct conf), src, d, false };
	struct conf *c = l.c;
	size_t before = conf_error_count(d);
	c->refs = 1;
	c->schema = schema;
	c->arena = arena_new();
	struct node *tree = tree_read(src, c->arena, d);
	for (size_t i = 0; overrides != NULL && i < overrides->n; i++)
		tree_override(tree, overrides->v[i], c->arena, d);
	const struct node *sections = take_sections(&l, tree);
	const struct conf_block *root = schema->root != NULL ? schema->root : &no_root;
	c->root = &(struct filled){ .block = root }; /* for report_unknown() until it is filled */
	c->root = fill_block(&l, root, tree, "");
	fill_sections(&l, sections);
	bool empty = tree->children == NULL && sections == NULL;
	if (!l.hollow && !empty && schema->check != NULL)
		schema->check(c, d);
	if (conf_error_count(d) != before)
		conf_unref(&c);
	else
		c->revision = hash_text(c);
	return c;
}

struct conf *conf_ref(const struct conf *c)
{
	struct conf *mine = (struct conf *)(uintptr_t)c;
	CHECK(mine->refs > 0);
	mine->refs++;
	return mine;
}

void conf_unref(struct conf **c)
{
	struct conf *gone = *c;
	*c = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->refs > 0);
	if (--gone->refs > 0)
		return;
	arena_free(&gone->arena);
	mem_free(gone);
}

static const struct filled *find_filled(const struct conf *c, const struct conf_block *block)
{
	if (c->root->block == block)
		return c->root;
	for (const struct filled *f = c->sections; f != NULL; f = f->next)
		if (f->block == block)
			return f;
	return NULL;
}

const void *conf_section(const struct conf *c, const struct conf_block *block)
{
	const struct filled *f = find_filled(c, block);
	CHECK(f != NULL); /* not a section of this schema */
	return f->data;
}

bool conf_has_section(const struct conf *c, const struct conf_block *block)
{
	const struct filled *f = find_filled(c, block);
	return f != NULL && f->present;
}

static void each_file_of(const struct filled *f, void (*fn)(void *arg, const char *path), void *arg)
{
	for (size_t i = 0; i < f->block->count; i++) {
		const struct conf_param *p = &f->block->params[i];
		const struct conf_file *file = filled_field(f, p);
		if ((p->type == CONF_FILE || p->type == CONF_SECRET) && file->path != NULL &&
		    file->path[0] == '/')
			fn(arg, file->path);
	}
	for (const struct filled *o = f->children; o != NULL; o = o->next)
		each_file_of(o, fn, arg);
}

void conf_each_file(const struct conf *c, void (*fn)(void *arg, const char *path), void *arg)
{
	each_file_of(c->root, fn, arg);
	for (const struct filled *f = c->sections; f != NULL; f = f->next)
		each_file_of(f, fn, arg);
}

bool conf_has_foreign(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->other_count; i++)
		if (strcmp(c->others[i], name) == 0)
			return true;
	return false;
}

uint64_t conf_revision(const struct conf *c)
{
	return c->revision;
}
