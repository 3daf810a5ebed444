/* tree.c - step 2 of loading: tokens to statements, includes followed; before: lex.c, after: load.c.
 *
 * Goes on behind every mistake, so that one run reports them all: a missing semicolon is taken as
 * given where the next line begins, any other stray word up to the end of its statement. Everything
 * is made in the caller's arena. */
#include <string.h>

#include "base/fmt.h"

#include "conf/diag.h"
#include "conf/lex.h"
#include "conf/source.h"
#include "conf/tree.h"

enum { SHOWN_MAX = 60 };

/* One load: shared by all of its files. */
struct reader {
	struct conf_source *src;
	struct arena *arena;
	struct conf_diag *d;
	size_t statements, includes;
};

/* One file being read. */
struct parser {
	struct reader *r;
	struct parser *includer; /* NULL for the main file */
	const char *file;
	struct lexer lex;
	struct token now;    /* not consumed yet */
	struct token before; /* the one consumed last */
	unsigned depth;      /* of blocks, over all files */
	bool unreadable;     /* the statement has a bad token: reported already */
};

static struct conf_pos pos_of(const struct parser *p, const struct token *t)
{
	return (struct conf_pos){ p->file, t->line, t->column };
}

/* A token that cannot be read: reported, without the text of a string, which may be a secret. */
static void report_bad(struct parser *p)
{
	struct buf text = BUF_INIT(8 * SHOWN_MAX);
	bool string = p->now.raw.p[0] == '"';
	if (!string)
		fmt_log_value(&text, p->now.raw, SHOWN_MAX);
	conf_error(p->r->d, pos_of(p, &p->now), "%s%s%s", p->now.why, string ? "" : ": ",
	    string ? "" : buf_cstr(&text));
	buf_end(&text);
	p->unreadable = true;
}

static void advance(struct parser *p)
{
	p->before = p->now;
	lex_next(&p->lex, &p->now);
	while (p->now.kind == TOK_BAD) {
		report_bad(p);
		if (p->now.is_text) {
			p->now.kind = TOK_STRING; /* it still stands for a value */
			p->now.raw = SPAN("\"\"");
			return;
		}
		lex_next(&p->lex, &p->now);
	}
}

static const char *shown(const struct token *t, struct buf *out)
{
	if (t->kind == TOK_END)
		return "the end of the file";
	buf_add_char(out, '"');
	fmt_line_text(out, t->raw, SHOWN_MAX);
	buf_add_char(out, '"');
	return buf_cstr(out);
}

static void complain(struct parser *p, const char *wanted)
{
	struct buf text = BUF_INIT(8 * SHOWN_MAX);
	conf_error(
	    p->r->d, pos_of(p, &p->now), "expected %s, found %s", wanted, shown(&p->now, &text));
	buf_end(&text);
}

static bool is_text(const struct token *t)
{
	return t->kind == TOK_WORD || t->kind == TOK_STRING;
}

static struct span token_text(struct parser *p, const struct token *t)
{
	if (t->kind == TOK_WORD)
		return arena_span(p->r->arena, t->raw);
	struct buf text = BUF_INIT(CONF_FILE_MAX);
	lex_unquote(t, &text);
	struct span s = arena_span(p->r->arena, buf_span(&text));
	buf_wipe_end(&text);
	return s;
}

static struct conf_value *take_value(struct parser *p)
{
	struct conf_value *v = arena_alloc(p->r->arena, sizeof *v);
	v->text = token_text(p, &p->now);
	v->pos = pos_of(p, &p->now);
	advance(p);
	return v;
}

static void take_block(struct parser *p, struct node *n);

/* Behind a mistake: to the end of the statement n, its block included. */
static void skip_statement(struct parser *p, struct node *n)
{
	while (is_text(&p->now) || p->now.kind == TOK_COMMA)
		advance(p);
	if (p->now.kind == TOK_SEMICOLON)
		advance(p);
	else if (p->now.kind == TOK_OPEN)
		take_block(p, n);
	n->kind = NODE_BROKEN;
}

/* The next token begins a line and can begin a statement: only the semicolon was forgotten. */
static bool semicolon_missing(const struct parser *p)
{
	return p->now.line > p->before.line &&
	       (p->now.kind == TOK_WORD || p->now.kind == TOK_CLOSE || p->now.kind == TOK_END);
}

static void end_option(struct parser *p, struct node *n)
{
	if (p->unreadable)
		n->kind = NODE_BROKEN;
	if (p->now.kind == TOK_SEMICOLON) {
		advance(p);
		return;
	}
	if (semicolon_missing(p) || p->now.kind == TOK_CLOSE || p->now.kind == TOK_END) {
		struct conf_pos at = { p->file, p->before.line, p->before.end_column };
		conf_error(p->r->d, at, "missing \";\" behind \"%s\"", n->name.p);
		return;
	}
	complain(
	    p, n->values == NULL ? "a value, \";\" or \"{\"" : "\",\" or \";\" behind the value");
	skip_statement(p, n);
}

/* value, value, ... */
static void take_values(struct parser *p, struct conf_value **tail)
{
	while (is_text(&p->now)) {
		*tail = take_value(p);
		tail = &(*tail)->next;
		if (p->now.kind != TOK_COMMA)
			return;
		advance(p);
		if (!is_text(&p->now))
			complain(p, "a value behind \",\"");
	}
}

static void read_body(struct parser *p, struct node *block, const struct node *opened);

static void take_block(struct parser *p, struct node *n)
{
	n->kind = NODE_BLOCK;
	n->title = n->values;
	n->values = NULL;
	n->tail = &n->children;
	if (n->title != NULL && n->title->next != NULL)
		conf_error(p->r->d, n->title->next->pos, "block \"%s\" has more than one title",
		    n->name.p);
	if (n->title != NULL && n->title->text.n == 0)
		conf_error(p->r->d, n->title->pos, "empty title of block \"%s\"", n->name.p);
	if (++p->depth > CONF_NEST_MAX) {
		conf_error(p->r->d, n->pos, "blocks nested deeper than %d", CONF_NEST_MAX);
		p->now.kind = TOK_END; /* nothing behind can be understood */
		p->lex.rest = SPAN_NONE;
	} else {
		advance(p);
		read_body(p, n, n);
	}
	p->depth--;
}

static void read_file(struct reader *r, struct parser *includer, const char *file,
    struct node *into, struct conf_pos from);

static void include_each(
    struct parser *p, struct node *block, struct span paths, struct conf_pos at)
{
	while (paths.n > 0) {
		struct span one = span_cut(&paths, '\0');
		read_file(p->r, p, arena_str(p->r->arena, one), block, at);
	}
}

/* Relative to the file with the include, and relative to the working directory when that is. */
static const char *beside(struct parser *p, struct span path)
{
	struct buf joined = BUF_INIT(8192);
	size_t slash = span_rfind(span_str(p->file), '/');
	if (slash != SIZE_MAX && path.n > 0 && path.p[0] != '/')
		buf_add_span(&joined, span_first(span_str(p->file), slash + 1));
	buf_add_span(&joined, path);
	const char *s = buf_ok(&joined) ? arena_str(p->r->arena, buf_span(&joined)) : "";
	buf_end(&joined);
	return s;
}

static void do_include(struct parser *p, struct node *block, const struct node *n)
{
	if (n->values == NULL || n->values->text.n == 0) {
		conf_error(p->r->d, n->pos, "include needs a path");
		return;
	}
	for (const struct conf_value *v = n->values; v != NULL; v = v->next) {
		const char *why, *path = beside(p, v->text);
		struct span found;
		if (strpbrk(path, "*?[") == NULL)
			read_file(p->r, p, path, block, v->pos);
		else if (source_glob(p->r->src, path, &found, &why))
			include_each(p, block, found, v->pos);
		else
			conf_error(p->r->d, v->pos, "cannot include \"%s\": %s", v->text.p, why);
	}
}

/* One statement. NULL: it was an include, or the file has too many. */
static struct node *read_statement(struct parser *p, struct node *block)
{
	struct node *n = arena_alloc(p->r->arena, sizeof *n);
	n->name = token_text(p, &p->now);
	n->pos = pos_of(p, &p->now);
	if (++p->r->statements > CONF_STATEMENTS_MAX) {
		if (p->r->statements == CONF_STATEMENTS_MAX + 1)
			conf_error(p->r->d, n->pos, "more than %d statements", CONF_STATEMENTS_MAX);
		p->now.kind = TOK_END;
		p->lex.rest = SPAN_NONE;
		return NULL;
	}
	p->unreadable = false;
	advance(p);
	take_values(p, &n->values);
	if (p->now.kind == TOK_OPEN) {
		take_block(p, n);
		return n;
	}
	end_option(p, n);
	if (!span_eq(n->name, SPAN("include")))
		return n;
	if (n->kind == NODE_OPTION)
		do_include(p, block, n);
	return NULL;
}

/* A token that no statement begins with. */
static void skip_stray(struct parser *p)
{
	struct node nameless = { .name = SPAN("{"), .pos = pos_of(p, &p->now) };
	complain(p, "the name of an option or a block");
	skip_statement(p, &nameless);
}

/* The statements of a block into its children, behind those it has. opened: the statement whose
 * brace ends it; NULL at the top of a file. */
static void read_body(struct parser *p, struct node *block, const struct node *opened)
{
	for (;;) {
		if (p->now.kind == TOK_END) {
			if (opened != NULL)
				conf_error(p->r->d, opened->pos,
				    "block \"%s\" is opened here and never closed", opened->name.p);
			return;
		}
		if (p->now.kind == TOK_CLOSE) {
			if (opened == NULL)
				complain(p, "no \"}\", because no block is open");
			advance(p);
			if (opened != NULL)
				return;
		} else if (p->now.kind == TOK_SEMICOLON) {
			advance(p); /* an empty statement: harmless, and usual behind a block */
		} else if (p->now.kind != TOK_WORD) {
			skip_stray(p);
		} else {
			struct node *n = read_statement(p, block);
			if (n == NULL)
				continue;
			*block->tail = n;
			block->tail = &n->next;
		}
	}
}

static bool may_include(
    struct reader *r, struct parser *includer, const char *file, struct conf_pos from)
{
	unsigned depth = 0;
	for (struct parser *p = includer; p != NULL; p = p->includer, depth++)
		if (strcmp(p->file, file) == 0) {
			conf_error(r->d, from, "\"%s\" includes itself", file);
			return false;
		}
	if (depth > CONF_NEST_MAX) {
		conf_error(r->d, from, "includes nested deeper than %d", CONF_NEST_MAX);
		return false;
	}
	if (includer != NULL && ++r->includes > CONF_INCLUDE_MAX) {
		if (r->includes == CONF_INCLUDE_MAX + 1)
			conf_error(r->d, from, "more than %d included files", CONF_INCLUDE_MAX);
		return false;
	}
	return true;
}

static void read_file(struct reader *r, struct parser *includer, const char *file,
    struct node *into, struct conf_pos from)
{
	struct parser p = { .r = r, .includer = includer, .file = file };
	struct span bytes;
	const char *why;
	if (!may_include(r, includer, file, from))
		return;
	if (!source_read(r->src, file, &bytes, &why)) {
		conf_error(r->d, from,
		    includer != NULL ? "cannot include \"%s\": %s" : "cannot read %s: %s", file,
		    why);
		return;
	}
	diag_note_file(r->d, file);
	p.depth = includer != NULL ? includer->depth : 0;
	lex_init(&p.lex, bytes);
	advance(&p);
	read_body(&p, into, NULL);
}

struct node *tree_read(struct conf_source *src, struct arena *a, struct conf_diag *d)
{
	struct reader r = { src, a, d, 0, 0 };
	const char *file = arena_str(a, span_str(source_path(src)));
	struct node *root = arena_alloc(a, sizeof *root);
	root->kind = NODE_BLOCK;
	root->name = SPAN("");
	root->pos = (struct conf_pos){ file, 1, 1 };
	root->tail = &root->children;
	read_file(&r, NULL, file, root, (struct conf_pos){ NULL, 0, 0 });
	return root;
}

/* --- overrides ----------------------------------------------------------------------------------- */

static bool take_prefix(struct span *path, struct span name)
{
	if (name.n == 0 || path->n <= name.n + 1 || !span_starts(*path, name) ||
	    path->p[name.n] != '.')
		return false;
	*path = span_from(*path, name.n + 1);
	return true;
}

/* The nested block that the front of *path names: by its name, its title, or name.title. */
static struct node *take_step(struct node *at, struct span *path)
{
	struct node *by_name = NULL;
	struct span rest = *path;
	for (struct node *n = at->children; n != NULL; n = n->next) {
		struct span title = n->title != NULL ? n->title->text : SPAN_NONE;
		struct span p = *path;
		if (n->kind != NODE_BLOCK)
			continue;
		if (take_prefix(&p, title)) {
			*path = p;
			return n;
		}
		if (!take_prefix(&p, n->name))
			continue;
		rest = p;
		if (take_prefix(&p, title)) {
			*path = p;
			return n;
		}
		if (by_name == NULL)
			by_name = n;
	}
	if (by_name != NULL)
		*path = rest;
	return by_name;
}

static struct node *put_node(
    struct arena *a, struct node *block, struct span name, struct conf_pos at)
{
	struct node *n = arena_alloc(a, sizeof *n);
	n->name = arena_span(a, name);
	n->pos = at;
	n->tail = &n->children;
	*block->tail = n;
	block->tail = &n->next;
	return n;
}

static void drop_options(struct node *block, struct span name)
{
	block->tail = &block->children;
	while (*block->tail != NULL) {
		struct node *n = *block->tail;
		if (n->kind != NODE_BLOCK && span_eq(n->name, name))
			*block->tail = n->next;
		else
			block->tail = &n->next;
	}
}

static void parse_override(struct parser *p, struct span value, struct node *n)
{
	lex_init(&p->lex, value);
	advance(p);
	take_values(p, &n->values);
	if (n->values == NULL && p->now.kind == TOK_END) {
		n->values = arena_alloc(p->r->arena, sizeof *n->values);
		n->values->text = arena_span(p->r->arena, SPAN(""));
	} else if (p->now.kind != TOK_END) {
		complain(p, "a value or values with \",\" between them");
		n->kind = NODE_BROKEN;
	}
	for (struct conf_value *v = n->values; v != NULL; v = v->next)
		v->pos = n->pos;
}

void tree_override(struct node *root, const char *text, struct arena *a, struct conf_diag *d)
{
	struct buf origin = BUF_INIT(256);
	struct span value = span_str(text), path = span_cut(&value, '=');
	buf_printf(
	    &origin, "-o %.*s", SPAN_ARG(span_first(path, 200))); /* never the value: a secret? */
	struct conf_pos at = { arena_str(a, buf_span(&origin)), 0, 0 };
	struct reader r = { NULL, a, d, 0, 0 };
	struct parser p = { .r = &r, .file = at.file };
	struct node *block = root, *next;
	buf_end(&origin);
	if (value.p == NULL || path.n == 0) {
		conf_error(d, at, "expected section.option=value");
		return;
	}
	while ((next = take_step(block, &path)) != NULL)
		block = next;
	/* A section that the file leaves out. */
	size_t dot = span_find(path, '.');
	if (block == root && dot != SIZE_MAX) {
		block = put_node(a, root, span_first(path, dot), at);
		block->kind = NODE_BLOCK;
		path = span_from(path, dot + 1);
	}
	if (span_find(path, '.') != SIZE_MAX) {
		conf_error(d, at, "no block of this name or title in the file: \"%.*s\"",
		    SPAN_ARG(span_first(path, span_rfind(path, '.'))));
		return;
	}
	drop_options(block, path);
	parse_override(&p, value, put_node(a, block, path, at));
}
